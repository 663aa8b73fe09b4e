"""Read the labels of a table: names, numbers, lists and one-hot columns, after one look at all rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from audit.io.console import counted
from audit.sources.annotations.columns import Columns, is_missing, read_labels
from audit.sources.storage.problems import EXAMPLES, Problem, Tally, named

_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_WHOLE = re.compile(r"(-?\d+)\.0+")
_BINARY = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}
_NO_CLASS = re.compile(r"(.*_)?(id|index|width|height|size|age|year|count|x|y|w|h|sex|gender)", re.IGNORECASE)
"""Columns whose name says that they are not classes, though they may hold only 0 and 1."""


@dataclass(slots=True)
class LabelCells:
    """How the labels of a table are written.

    Args:
        table: the table, for messages.
        columns: its columns.
        one_hot: columns that are classes: 1 where an image has the class.
        numbers: whether every label is a number.
        floats: whether every label is a whole number and some are written as ``1.0``.
    """

    table: str
    columns: Columns
    one_hot: tuple[str, ...] = ()
    numbers: bool = False
    floats: bool = False
    missing: Tally = field(default_factory=Tally)
    none: int = 0
    several: bool = False

    def read(self, row: Mapping[str, object]) -> tuple[str | None, tuple[str, ...] | None]:
        """Return the label or labels of a row."""
        if self.one_hot:
            names = tuple(name for name in self.one_hot if _binary(row.get(name)))
            self.none += not names
            return (names[0] if names else None, None) if len(names) < 2 else (None, names)
        name = self.columns.label
        value = row.get(name) if name else None
        if name is None or value is None or value == "":
            return None, None
        if is_missing(value, numbers=self.numbers):
            self.missing.add(repr(value))
            return None, None
        if self.floats and isinstance(value, str) and (whole := _WHOLE.fullmatch(value.strip())):
            value = whole[1]
        return read_labels(value, name)

    def problems(self) -> Iterable[Problem]:
        """Yield what a reader of the table may want to know; complete once all rows are read."""
        if self.one_hot:
            kind = "several classes per image" if self.several else "one class per image"
            shown = named(self.one_hot, len(self.one_hot))
            problem = f"{self.table}: {counted(len(self.one_hot), 'column')} of 0 and 1 are read as classes, {kind}: {shown}"
            hint = "if they are not classes, pass the column with the labels as --label-column (label_column)"
            evidence = {"names": list(self.one_hot[:EXAMPLES]), "entries": len(self.one_hot)}
            yield Problem(kind="one_hot_labels", severity="info", problem=problem, hint=hint, evidence=evidence)
        if self.none:
            problem = f"{self.table}: {counted(self.none, 'row')} with 0 in every column of a class: their images have no label"
            yield Problem(
                kind="missing_labels", severity="info", problem=problem, hint="check that this is intended", evidence={"entries": self.none}
            )
        if self.floats:
            problem = f"{self.table}: labels are whole numbers, some written as floats: 1.0 is read as 1"
            yield Problem(kind="float_labels", severity="info", problem=problem, hint="write them as integers, or as names")
        if count := self.missing.count:
            problem = f"{self.table}: {counted(count, 'label')} read as missing: {named(dict.fromkeys(self.missing.examples), 0)}"
            hint = "leave the cell empty, or rename the class if it is one"
            yield Problem(kind="missing_labels", problem=problem, hint=hint, evidence={"entries": count})


def survey(table: str, columns: Columns, names: Sequence[str], rows: Iterable[Mapping[str, object]]) -> LabelCells:
    """Look at all rows of a table and return how its labels are written.

    Args:
        table: the table, for messages.
        columns: its columns.
        names: all names of columns.
        rows: the rows; read only as far as needed.
    """
    if columns.label is not None:
        return _written(table, columns, (row.get(columns.label) for row in rows))
    candidates = [name for name in names if name not in columns and not _NO_CLASS.fullmatch(name)]
    others = len([name for name in names if name not in columns]) - len(candidates)
    single, ones, count = True, dict.fromkeys(candidates, 0), 0
    for row in rows:
        values = {name: _binary(row.get(name)) for name in candidates}
        others += sum(value is None for value in values.values())
        candidates = [name for name, value in values.items() if value is not None]
        if len(candidates) < 2:
            return LabelCells(table, columns)
        count += 1
        for name in candidates:
            ones[name] += bool(values[name])
        single = single and sum(bool(values[name]) for name in candidates) == 1
    # Columns that happen to be 0 or 1 are not classes: one 1 in each row, or no other columns at all, are the sign.
    single = single and sum(ones[name] for name in candidates) == count
    if count and len(candidates) > 1 and (single or not others):
        return LabelCells(table, columns, one_hot=tuple(candidates), several=not single)
    return LabelCells(table, columns)


def _written(table: str, columns: Columns, values: Iterable[object]) -> LabelCells:
    numbers, whole, dotted, known = True, True, False, False
    for value in values:
        text = str(value).strip() if isinstance(value, (str, int, float)) else "" if value is None else "[]"
        if text == "" or is_missing(text, numbers=True):
            continue
        known = True
        numbers = numbers and _NUMBER.fullmatch(text) is not None
        if not numbers:
            return LabelCells(table, columns)
        is_whole = _WHOLE.fullmatch(text) is not None
        dotted = dotted or (is_whole and isinstance(value, str))
        whole = whole and (is_whole or "." not in text)
    return LabelCells(table, columns, numbers=numbers and known, floats=known and whole and dotted)


def _binary(value: object) -> bool | None:
    if isinstance(value, (bool, int, float)):
        return bool(value) if value in (0, 1) else None
    return _BINARY.get(value.strip().lower()) if isinstance(value, str) else None
