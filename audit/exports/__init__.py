"""What a reviewed run gives to other tools: lists and files that say what to do. The dataset itself is never touched.

One module per kind, named after it (``audit/exports/drop_list.py`` is ``--what drop-list``), with ``ENDINGS``, the files it can write, and
``write(run, actions, out)``. ``actions`` is what `audit.review.consensus.consensus` says of the decided images.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING, Any

from audit.errors import AuditError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from audit.run.run import Run

_SHARED = ("table",)

_OF_FILES = (".csv", ".jsonl", ".parquet", ".json", ".jsonld")
"""Endings that no folder has: whoever names one expects a file."""


def kinds() -> dict[str, str]:
    """Return the kinds of export: name -> module."""
    return {name.replace("_", "-"): name for _, name, _ in pkgutil.iter_modules(__path__) if name not in _SHARED}


def export(run: Run, what: str, out: Path) -> dict[str, Any]:
    """Write one export.

    Args:
        run: a finished run.
        what: one of `kinds`.
        out: a file whose ending says its format, or a folder; see ``docs/exports.md``.

    Returns:
        What was written, as JSON values: numbers by name.

    Raises:
        AuditError: there is no such kind, the kind does not write such a file, or the run lacks what it needs.
    """
    from audit.review.consensus import consensus_of_run
    from audit.review.decisions import Decisions

    known = kinds()
    if what not in known:
        raise AuditError("--what", f"unknown export {what!r}", nearest(what, known))
    module = import_module(f"{__name__}.{known[what]}")
    _refuse_place(out, what, module.ENDINGS)
    if not out.parent.is_dir():
        raise AuditError(out.parent, "there is no such folder", "make it, or name another --out")
    actions = consensus_of_run(run, Decisions(run.path).current())
    written: dict[str, Any] = module.write(run, actions, out)
    return written


def _refuse_place(out: Path, what: str, endings: Sequence[str]) -> None:
    """Refuse a file where a folder is written, and the other way round. A folder may be called ``clean.v1``, though not like a list."""
    folder = "" in endings
    wrong = out.is_file() or (not out.is_dir() and out.suffix.lower() in _OF_FILES) if folder else out.is_dir() or out.suffix.lower() not in endings
    if wrong:
        named = "a folder" if out.is_dir() else repr(out.suffix) if out.suffix else "a file" if folder else "a folder"
        hint = "name a folder" if folder else f"name {' or '.join(endings)}"
        raise AuditError(out, f"{what} cannot be written as {named}", hint)
