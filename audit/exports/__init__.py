"""Export a reviewed run to lists and files for other tools. The dataset itself does not change.

One module per export, named after it (``audit/exports/drop_list.py`` is ``--what drop-list``). A module has a docstring, whose first line describes
the export; ``ENDINGS``, the endings of its files, or ``("",)`` if it writes a folder; ``write(run, actions, out)``; and optionally ``TITLE``, its
display name. ``actions`` are consensus actions per image, as `audit.review.consensus.consensus` returns them. Other distributions add exports through
the entry-point group ``imagenet_audit.exports`` (``name = "package.module"``).
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
"""Endings that name a file, so they are refused for an export that writes a folder."""


def exports() -> Mapping[str, Export]:
    """Return all exports by name. Raises AuditError if an export cannot be loaded or is not a valid export module."""
    return {name: read_export(name, plugin.origin, plugin.load()) for name, plugin in EXPORTS.find().items()}


def export(run: Run, what: str, out: Path) -> dict[str, Any]:
    """Write one export.

    Args:
        run: a finished run.
        what: one of `exports`.
        out: a file whose ending selects the format, or a folder; see ``docs/exports.md``.

    Returns:
        Name -> number of images, tasks etc. written, as JSON values.

    Raises:
        AuditError: the kind is unknown or does not write this ending, or the run lacks data that it needs.
    """
    from audit.review.consensus import consensus_of_run
    from audit.review.decisions import Decisions

    known = EXPORTS.find()
    if what not in known:
        raise AuditError("--what", f"unknown export {what!r}", nearest(what, known))
    chosen = read_export(what, known[what].origin, known[what].load())
    _check_ending(out, chosen)
    if not out.parent.is_dir():
        raise AuditError(out.parent, "no such folder", "create it, or choose another --out")
    actions = consensus_of_run(run, Decisions(run.path).current())
    return chosen.write(run, actions, out)


def _check_ending(out: Path, chosen: Export) -> None:
    """Refuse a file for an export that writes a folder, and vice versa. A folder may be named ``clean.v1``, but not ``clean.csv``."""
    folder, ending = chosen.writes_folder, out.suffix.lower()
    wrong = out.is_file() or (not out.is_dir() and ending in _OF_FILES) if folder else out.is_dir() or ending not in chosen.endings
    if wrong:
        named = "a folder" if out.is_dir() else repr(out.suffix) if out.suffix else "a file" if folder else "a folder"
        hint = "choose a folder" if folder else f"use {' or '.join(chosen.endings)}"
        raise AuditError(out, f"{chosen.name} cannot be written as {named}", hint)
