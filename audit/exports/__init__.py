"""What a reviewed run gives to other tools: lists and files that say what to do. The dataset itself is never touched.

One module per export, named after it: ``audit/exports/drop_list.py`` is ``--what drop-list``. It has a docstring, whose first line describes the
export; ``ENDINGS``, the endings of its files, or ``("",)`` where it writes a folder; ``write(run, actions, out)``; and optionally ``TITLE``, its name
in words. ``actions`` is what `audit.review.consensus.settle` returns for the decided images. Other distributions add exports through the entry-point
group ``imagenet_audit.exports`` (``name = "package.module"``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audit.errors import AuditError, nearest
from audit.exports.base import Export, read_export
from audit.io.plugins import EXPORTS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from audit.run.run import Run

_OF_FILES = (".csv", ".jsonl", ".parquet", ".json", ".jsonld")
"""Endings that no folder has: whoever names one expects a file."""


def exports() -> Mapping[str, Export]:
    """Return every export by name. Raises AuditError where one cannot be loaded, or a module does not have the shape of an export."""
    return {name: read_export(name, plugin.origin, plugin.load()) for name, plugin in EXPORTS.find().items()}


def export(run: Run, what: str, out: Path) -> dict[str, Any]:
    """Write one export.

    Args:
        run: a finished run.
        what: one of `exports`.
        out: a file whose ending says its format, or a folder; see ``docs/exports.md``.

    Returns:
        What was written, as JSON values: numbers by name.

    Raises:
        AuditError: there is no such kind, the kind does not write such a file, or the run lacks what it needs.
    """
    from audit.review.consensus import settle_run
    from audit.review.decisions import Decisions

    known = EXPORTS.find()
    if what not in known:
        raise AuditError("--what", f"unknown export {what!r}", nearest(what, known))
    chosen = read_export(what, known[what].origin, known[what].load())
    _refuse_place(out, chosen)
    if not out.parent.is_dir():
        raise AuditError(out.parent, "there is no such folder", "make it, or name another --out")
    actions = settle_run(run, Decisions(run.path).current())
    return chosen.write(run, actions, out)


def _refuse_place(out: Path, chosen: Export) -> None:
    """Refuse a file where a folder is written, and the other way round. A folder may be called ``clean.v1``, though not like a list."""
    folder, ending = chosen.writes_folder, out.suffix.lower()
    wrong = out.is_file() or (not out.is_dir() and ending in _OF_FILES) if folder else out.is_dir() or ending not in chosen.endings
    if wrong:
        named = "a folder" if out.is_dir() else repr(out.suffix) if out.suffix else "a file" if folder else "a folder"
        hint = "name a folder" if folder else f"name {' or '.join(chosen.endings)}"
        raise AuditError(out, f"{chosen.name} cannot be written as {named}", hint)
