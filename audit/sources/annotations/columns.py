"""The columns of a table of samples (CSV, JSON Lines or Parquet): find them, and read their cells."""

from __future__ import annotations

import ast
import difflib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from audit.errors import SourceError, nearest
from audit.sources.annotations.layout import is_split
from audit.sources.base import SourceOptions
from audit.sources.storage.names import is_image
from audit.sources.storage.problems import Problem, named

PATHS = ("path", "file", "filename", "file_name", "filepath", "image_path", "image", "sample_id")
LABELS = (
    *("label", "labels", "class", "target", "category", "class_name", "classname", "label_name", "category_name", "predictionstring"),
    *("finding labels", "classes", "tags", "class_label", "label_id", "class_id", "category_id"),
)
_SPLITS = ("split", "subset", "set", "partition", "data_split", "dataset_split")
_FLAGS = {
    **dict.fromkeys(("is_valid", "is_validation", "is_val"), ("valid", "train")),
    **dict.fromkeys(("is_train", "is_training", "is_training_image"), ("train", "test")),
    "is_test": ("test", "train"),
}
"""Columns that say with true or 1 that an image is in a split, and the splits that true and false stand for."""
_FOLDS = ("fold", "kfold", "fold_id", "cv_fold")

_TRUE, _FALSE = ("true", "1", "1.0", "yes"), ("false", "0", "0.0", "no")
_ALWAYS_MISSING = frozenset({"nan", "<na>", "#n/a", "n/a"})
_MISSING_NUMBERS = frozenset({"na", "none", "null", "nat", "-"})
_ADJACENT = re.compile(r"""(['"])\s+(?=['"])""")

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
    usual = {"path": (*PATHS, *paths), "label": LABELS, "split": (*_SPLITS, *_FLAGS, *_FOLDS)}
    found = {}
    for what, known in usual.items():
        named = getattr(options, f"{what}_column")
        if named is not None:
            require_column(table, named, names)
        found[what] = named or next((name for wanted in known for name in names if name.lower() == wanted), None)
        if what in needs and found[what] is None:
            raise SourceError(table, f"has no {what} column; its columns are {', '.join(names)}", f"set `{what}_column`")
    return Columns(**found)


def titles_of(first: Sequence[str], options: SourceOptions) -> list[str]:
    """Return column names for a table whose first line is already an image; an empty list if it is a header.

    >>> titles_of(["a/1.jpg", "cat", "train"], SourceOptions()), titles_of(["path", "label"], SourceOptions())
    (['path', 'label', 'split'], [])
    """
    at = next((at for at, cell in enumerate(first) if is_image(cell)), None)
    if at is None or len(first) < 2 or options.path_column or options.label_column or options.split_column:
        return []
    titles = [f"column {number}" for number in range(1, len(first) + 1)]
    titles[at] = "path"
    splits = [other for other, cell in enumerate(first) if other != at and is_split(cell)]
    if splits:
        titles[splits[0]] = "split"
    labels = [other for other in range(len(first)) if other not in (at, *splits)]
    if labels:
        titles[labels[0]] = "label"
    return titles


def is_missing(value: object, *, numbers: bool = False) -> bool:
    """Return whether a cell is how programs write a missing value.

    Args:
        value: the cell.
        numbers: whether all other cells of the column are numbers, so that ``None`` and ``NA`` are not names.
    """
    if isinstance(value, float):
        return value != value  # noqa: PLR0124 - NaN
    text = value.strip().lower() if isinstance(value, str) else ""
    return text in _ALWAYS_MISSING or (numbers and text in _MISSING_NUMBERS)


def read_split(value: object, column: str | None) -> str | None:
    """Return the split that a cell names: the text of most columns, the meaning of ``is_valid``, the number of a ``fold``."""
    if column is None or value is None or value == "" or is_missing(value):
        return None
    text, name = str(value).strip(), column.lower()
    if name in _FLAGS and text.lower() in (*_TRUE, *_FALSE):
        return _FLAGS[name][text.lower() in _FALSE]
    if name in _FOLDS and text.removesuffix(".0").isdigit():
        return f"fold {text.removesuffix('.0')}"
    return str(value)


def assumed_splits(table: str, columns: Columns, options: SourceOptions) -> list[Problem]:
    """Return a problem if the split column is one that does not name splits."""
    if columns.split is None or options.split_column is not None or columns.split.lower() not in (*_FLAGS, *_FOLDS):
        return []
    hint = "if it is not, pass the column with the splits as --split-column (split_column)"
    problem = f"the column {columns.split!r} of {table} is read as the split"
    return [Problem(kind="assumed_splits", severity="info", problem=problem, hint=hint, evidence={"names": [columns.split]})]


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

    Several labels are a list, a list as JSON, Python, pandas or NumPy write it, or, in a column named ``labels``, text separated by ``|`` or ``;``.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and value.strip()[:1] in ("[", "(", "{"):
        value = _written_list(value.strip())
    if isinstance(value, str) and column.lower() == "predictionstring":  # Kaggle's ImageNet: the class, then boxes
        value = value.split(None, 1)[0] if value.strip() else None
    if isinstance(value, str) and column.lower() == "labels" and ("|" in value or ";" in value):
        value = [part.strip() for part in value.replace(";", "|").split("|")]
    if isinstance(value, (list, tuple)):
        several = tuple(dict.fromkeys(str(part) for part in value if part not in (None, "") and not is_missing(part)))
        return (several[0], None) if len(several) == 1 else (None, several or None)
    return None if value is None or value == "" else str(value), None


def _written_list(text: str) -> object:
    """Return the list that a text spells, else the text.

    >>> _written_list("['cat', 'dog']"), _written_list("['cat' 'dog']"), _written_list('["cat"]'), _written_list("(unknown)")
    (['cat', 'dog'], ['cat', 'dog'], ['cat'], '(unknown)')
    """
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text if read is json.loads else _ADJACENT.sub(r"\1, ", text))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(found, (list, tuple, set, frozenset)) and not any(isinstance(part, (list, tuple, dict, set)) for part in found):
            return sorted(found, key=str) if isinstance(found, (set, frozenset)) else list(found)
    return text


def metadata(row: Mapping[str, object], columns: Columns, others: Collection[str] = ()) -> dict[str, object]:
    """Return the columns of a row that are not path, label or split, nor among the others, without empty cells."""
    return {
        name: value
        for name, value in row.items()
        if name not in columns and name not in others and value not in (None, "") and not isinstance(value, bytes)
    }
