"""Export a reviewed run to lists and files for other tools. The dataset itself does not change.

One module per kind, named after it (``audit/exports/drop_list.py`` is ``--what drop-list``), with ``ENDINGS``, the endings it can write, and
``write(run, actions, out)``. ``actions`` are the consensus actions per image, as `audit.review.consensus.settle` returns them.
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
"""Endings that name a file, so they are refused for an export that writes a folder."""


def kinds() -> dict[str, str]:
    """Return name -> module of each kind of export."""
    return {name.replace("_", "-"): name for _, name, _ in pkgutil.iter_modules(__path__) if name not in _SHARED}


def export(run: Run, what: str, out: Path) -> dict[str, Any]:
    """Write one export.

    Args:
        run: a finished run.
        what: one of `kinds`.
        out: a file whose ending selects the format, or a folder; see ``docs/exports.md``.

    Returns:
        Name -> number of images, tasks etc. written, as JSON values.

    Raises:
        AuditError: the kind is unknown or does not write this ending, or the run lacks data that it needs.
    """
    from audit.review.consensus import settle_run
    from audit.review.decisions import Decisions

    known = kinds()
    if what not in known:
        raise AuditError("--what", f"unknown export {what!r}", nearest(what, known))
    module = import_module(f"{__name__}.{known[what]}")
    _check_ending(out, what, module.ENDINGS)
    if not out.parent.is_dir():
        raise AuditError(out.parent, "no such folder", "create it, or name another --out")
    actions = settle_run(run, Decisions(run.path).current())
    written: dict[str, Any] = module.write(run, actions, out)
    return written


def _check_ending(out: Path, what: str, endings: Sequence[str]) -> None:
    """Refuse a file for an export that writes a folder, and vice versa. A folder may be named ``clean.v1``, but not ``clean.csv``."""
    folder = "" in endings
    wrong = out.is_file() or (not out.is_dir() and out.suffix.lower() in _OF_FILES) if folder else out.is_dir() or out.suffix.lower() not in endings
    if wrong:
        named = "a folder" if out.is_dir() else repr(out.suffix) if out.suffix else "a file" if folder else "a folder"
        hint = "name a folder" if folder else f"name {' or '.join(endings)}"
        raise AuditError(out, f"{what} cannot be written as {named}", hint)
