"""Keyboard shortcuts of buttons. Streamlit's ``shortcut`` reserves R, which is relabel here, so a small component handles the keys."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

_SCRIPT = """
export default function ({ data }) {
  const within = (target, selector) => target?.closest?.(selector);
  const typing = (target) =>
    target?.isContentEditable || within(target, 'input:not([type=checkbox]):not([type=radio]), textarea, select, [role=listbox]');
  const choosing = (event) => event.key.startsWith('Arrow') && within(event.target, '[role=radiogroup], [role=tablist], [role=radio], [role=tab]');
  const drawing = () => document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'running';
  const pressed = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || choosing(event)) return;
    const name = data[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    const button = name && document.querySelector(`.st-key-${name} button`);
    if (!button) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    // While the page is drawn, the reviewer has not seen the finding that a letter would decide about; arrow keys decide nothing.
    if (button.disabled || event.repeat || (drawing() && !event.key.startsWith('Arrow'))) return;
    button.click();
  };
  // Streamlit does not always clean up the listener of the previous page, so remove it here.
  window.removeEventListener('keydown', window.__auditKeys, true);
  window.__auditKeys = pressed;
  window.addEventListener('keydown', pressed, true);
  return () => window.removeEventListener('keydown', pressed, true);
}
"""


def keys(buttons: Mapping[str, str]) -> None:
    """Let keys press buttons, unless the user is typing or choosing a radio button, or the page is being drawn.

    Args:
        buttons: ``KeyboardEvent.key`` -> widget key of the button.
    """
    component = st.components.v2.component("imagenet_audit_keyboard", js=_SCRIPT, html="<span></span>")
    component(key="keyboard", data=dict(buttons), height="content")
