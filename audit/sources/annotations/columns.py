"""Tables of samples, CSV, JSON Lines or Parquet: which column is what, and one row as one sample."""

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
    """The names of the columns that mean something."""

    path: str | None
    label: str | None
    split: str | None


def find_columns(
    place: str, names: Sequence[str], options: SourceOptions, *, needs: Sequence[str] = ("path",), paths: tuple[str, ...] = ()
) -> Columns:
    """Return which columns hold path, label and split: those the options name, else those with a usual name.

    Args:
        place: the table, for messages.
        names: of its columns.
        options: which columns were named.
        needs: which of path, label and split must be there.
        paths: more usual names of the paths' column, looked for last.

    Raises:
        SourceError: a column that was named, or one that is needed, is not there.
    """
    usual = {"path": (*PATHS, *paths), "label": LABELS, "split": _SPLITS}
    found = {}
    for what, known in usual.items():
        named = getattr(options, f"{what}_column")
        if named is not None:
            require_column(place, named, names)
        found[what] = named or next((name for wanted in known for name in names if name.lower() == wanted), None)
        if what in needs and found[what] is None:
            raise SourceError(place, f"has no column of {what}s; its columns are {', '.join(names)}", f"name the right one with `{what}_column`")
    return Columns(**found)


def without_labels(place: str, names: Sequence[str], columns: Columns) -> list[Problem]:
    """Return what to say of a table of which no column is called as labels are, though others than its paths and splits are there."""
    others = [name for name in names if name not in columns]
    if columns.label is not None or not others:
        return []
    problem = f"no column of {place} has a usual name of labels, so its images have none; it has {named(others, len(others), _COLUMNS_SHOWN)}"
    hint = "if one of these holds the labels, name it with --label-column (label_column)"
    return [Problem(kind="no_label_column", severity="info", problem=problem, hint=hint, evidence={"names": others[:_COLUMNS_SHOWN]})]


def require_column(place: str, named: str, names: Sequence[str]) -> None:
    """Refuse the name of a column that a table does not have. Raises SourceError."""
    if named not in names:
        close = difflib.get_close_matches(named, names, n=1)
        there = f"its columns are {', '.join(names)}"
        problem = f"has no column {named!r}"
        raise SourceError(place, f"{problem}; {there}" if close else problem, f"did you mean {close[0]!r}?" if close else there)


def refuse_misspelt_splits(first_seen: Mapping[str, str]) -> None:
    """Refuse a split that looks like a slip of another one in the same table: ``vaal`` beside ``val``.

    Args:
        first_seen: every split of the table and the place where it was first met. Splits may be called anything, so only letters that nearly spell
            a usual split which the table has as well count as a slip.

    Raises:
        SourceError: names the place and the nearest split.
    """
    usual = {split.lower() for split in first_seen if is_split(split)}
    for split, place in first_seen.items():
        if split.isalpha() and not is_split(split) and difflib.get_close_matches(split.lower(), usual, n=1, cutoff=0.75):
            known = sorted(name for name in first_seen if is_split(name))
            raise SourceError(place, f"unknown split {split!r}; splits are {', '.join(known)}", nearest(split, known))


def refuse_nested(place: str, row: Mapping[str, object], columns: Columns) -> None:
    """Refuse a label or split that is a record, or a list of lists: its text would be taken for a name. Raises SourceError."""
    for what, name in (("label", columns.label), ("split", columns.split)):
        value = row.get(name) if name else None
        parts = value if isinstance(value, list) and what == "label" else [value]
        if any(isinstance(part, (dict, list)) for part in parts):
            kinds = "text, number or list of them" if what == "label" else "text or number"
            raise SourceError(
                place, f"its {what} in the column {name!r} is no {kinds}: {str(value)[:80]}", f"name another column with `{what}_column`"
            )


def read_labels(value: object, column: str) -> tuple[str | None, tuple[str, ...] | None]:
    """Return a cell as one label or as several.

    Several are a list, a JSON list, or, in a column called ``labels``, text separated by ``|`` or ``;``.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return str(value), None
    if isinstance(value, str) and column.lower() == "predictionstring":  # of Kaggle's ImageNet: the class, then boxes
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
