"""The columns of a table of samples (CSV, JSON Lines or Parquet): find them, and read their cells."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from audit.errors import SourceError, nearest
from audit.sources.annotations.layout import is_split
from audit.sources.base import SourceOptions
from audit.sources.storage.problems import Problem, named

PATHS = ("path", "file", "filename", "file_name", "filepath", "image_path", "image", "sample_id")
LABELS = ("label", "labels", "class", "target", "category", "class_name", "predictionstring")
_SPLITS = ("split", "subset", "set")

_COLUMNS_SHOWN = 8


class Columns(NamedTuple):
    """The names of the path, label and split columns."""

    path: str | None
    label: str | None
    split: str | None


def find_columns(
    table: str, names: Sequence[str], options: SourceOptions, *, needs: Sequence[str] = ("path",), paths: tuple[str, ...] = ()
) -> Columns:
    """Return the path, label and split columns: those set in the options, else those with a usual name.

    Args:
        table: the table's name, for messages.
        names: its columns.
        options: columns set by the user.
        needs: which of path, label and split are required.
        paths: additional usual names of the path column, tried last.

    Raises:
        SourceError: a column set in the options, or a required one, is missing.
    """
    usual = {"path": (*PATHS, *paths), "label": LABELS, "split": _SPLITS}
    found = {}
    for what, known in usual.items():
        named = getattr(options, f"{what}_column")
        if named is not None:
            require_column(table, named, names)
        found[what] = named or next((name for wanted in known for name in names if name.lower() == wanted), None)
        if what in needs and found[what] is None:
            raise SourceError(table, f"has no {what} column; its columns are {', '.join(names)}", f"set `{what}_column`")
    return Columns(**found)


def without_labels(table: str, names: Sequence[str], columns: Columns) -> list[Problem]:
    """Return a problem if a table has no label column although it has columns besides paths and splits."""
    others = [name for name in names if name not in columns]
    if columns.label is not None or not others:
        return []
    problem = f"{table} has no column with a usual label name, so its images have no labels; it has {named(others, len(others), _COLUMNS_SHOWN)}"
    hint = "if one of these contains the labels, pass it as --label-column (label_column)"
    return [Problem(kind="no_label_column", severity="info", problem=problem, hint=hint, evidence={"names": others[:_COLUMNS_SHOWN]})]


def require_column(table: str, named: str, names: Sequence[str]) -> None:
    """Refuse a column that a table does not have. Raises SourceError."""
    if named not in names:
        close = difflib.get_close_matches(named, names, n=1)
        known = f"its columns are {', '.join(names)}"
        problem = f"has no column {named!r}"
        raise SourceError(table, f"{problem}; {known}" if close else problem, f"did you mean {close[0]!r}?" if close else known)


def refuse_misspelt_splits(first_seen: Mapping[str, str]) -> None:
    """Refuse a split that looks like a typo of another one in the same table: ``vaal`` next to ``val``.

    Args:
        first_seen: every split of the table and its first line. Split names are free, so only a name that almost spells a usual split that the table
            also has counts as a typo.

    Raises:
        SourceError: with the line and the nearest split.
    """
    usual = {split.lower() for split in first_seen if is_split(split)}
    for split, where in first_seen.items():
        if split.isalpha() and not is_split(split) and difflib.get_close_matches(split.lower(), usual, n=1, cutoff=0.75):
            known = sorted(name for name in first_seen if is_split(name))
            raise SourceError(where, f"unknown split {split!r}; splits are {', '.join(known)}", nearest(split, known))


def refuse_nested(where: str, row: Mapping[str, object], columns: Columns) -> None:
    """Refuse a label or split that is a record or a nested list, whose text would become a name. Raises SourceError."""
    for what, name in (("label", columns.label), ("split", columns.split)):
        value = row.get(name) if name else None
        parts = value if isinstance(value, list) and what == "label" else [value]
        if any(isinstance(part, (dict, list)) for part in parts):
            kinds = "text, a number or a list of them" if what == "label" else "text or a number"
            raise SourceError(where, f"the {what} in column {name!r} is not {kinds}: {str(value)[:80]}", f"set `{what}_column` to another column")


def read_labels(value: object, column: str) -> tuple[str | None, tuple[str, ...] | None]:
    """Return a cell as one label or as several.

    Several labels are a list, a JSON list, or, in a column named ``labels``, text separated by ``|`` or ``;``.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return str(value), None
    if isinstance(value, str) and column.lower() == "predictionstring":  # Kaggle's ImageNet: the class, then boxes
        value = value.split(None, 1)[0] if value.strip() else None
    if isinstance(value, str) and column.lower() == "labels" and ("|" in value or ";" in value):
        value = [part.strip() for part in value.replace(";", "|").split("|")]
    if isinstance(value, (list, tuple)):
        several = tuple(str(part) for part in value if part not in (None, ""))
        return (several[0], None) if len(several) == 1 else (None, several or None)
    return None if value is None or value == "" else str(value), None


def metadata(row: Mapping[str, object], columns: Columns) -> dict[str, object]:
    """Return the columns of a row that are not path, label or split, without empty cells."""
    return {name: value for name, value in row.items() if name not in columns and value not in (None, "") and not isinstance(value, bytes)}
