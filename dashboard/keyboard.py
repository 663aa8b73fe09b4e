"""Keys for buttons. Streamlit's own ``shortcut`` reserves R, which is relabel here, so keys are passed on by a component of a few lines."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

_SCRIPT = """
export default function ({ data }) {
  const typing = (target) =>
    target && (target.isContentEditable || target.closest?.('input:not([type=checkbox]):not([type=radio]), textarea, select, [role=listbox]'));
  const pressed = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    const name = data[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!name) return;
    const button = document.querySelector(`.st-key-${name} button`);
    event.preventDefault();
    event.stopImmediatePropagation();
    if (button && !button.disabled && !event.repeat) button.click();
  };
  window.addEventListener('keydown', pressed, true);
  return () => window.removeEventListener('keydown', pressed, true);
}
"""


def keys(buttons: Mapping[str, str]) -> None:
    """Let keys press buttons while nobody is typing.

    Args:
        buttons: ``KeyboardEvent.key`` -> the key of the button's widget.
    """
    component = st.components.v2.component("imagenet_audit_keyboard", js=_SCRIPT, html="<span></span>")
    component(key="keyboard", data=dict(buttons), height="content")
