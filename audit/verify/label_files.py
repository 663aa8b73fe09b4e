"""Readers of published label files in their original formats; nothing is unpickled.

Each reader raises ValueError, KeyError, TypeError or OSError if a file has another format, RecursionError if JSON is nested too deeply.
"""

from __future__ import annotations

import csv
import json
import re
import reprlib
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audit.errors import SourceError
from audit.verify.datasets import Dataset

_PEOPLE = ("aggre_label", "noisy_label", "noise_label")
"""Columns of people's labels in CIFAR-10N and CIFAR-100N; the first one present counts."""

_DUPLICATE = frozenset({"0", "1"})
"""ciFAIR's judgments for an exact and a near duplicate; 2 is a very similar image of something else."""

_MAJORITY = 3
"""Votes of five people; a label with fewer votes counts as wrong (Northcutt et al. 2021)."""

_SHOWN = 200
"""Characters of a file's header shown in an error: a file that is not a table may be a single line."""


@dataclass(frozen=True, slots=True)
class ListedImage:
    """One image of a label file."""

    number: int
    """Number in the dataset's original order."""
    own: str | None
    """The dataset's label according to the file; None if the file does not contain it."""
    people: str | None = None
    """The label by people."""
    wrong: bool = False
    """Whether people found the dataset's label wrong."""


def listed_pairs(path: Path) -> list[tuple[int, int]]:
    """Return the numbers of the test and the train image of each duplicate pair."""
    rows = _table(path, ("test_index", "train_index"), ("TestID", "TrainID", "Judgment"))
    if rows and "TestID" in rows[0]:
        pairs = [(int(row["TestID"]), int(row["TrainID"])) for row in rows if row["Judgment"] in _DUPLICATE]
    else:
        pairs = [(int(row["test_index"]), int(row["train_index"])) for row in rows if row.get("verdict", "duplicate") == "duplicate"]
    return list(dict.fromkeys(pairs))


def human_labels(path: Path, dataset: Dataset) -> list[ListedImage]:
    """Return people's labels of the train images, from CIFAR-N's ``.pt`` or a CSV with its columns. Raises SourceError for a pickle (``.npy``)."""
    if path.suffix == ".npy":
        raise SourceError(path, "is a pickle, which can run arbitrary code", f"use the .pt file instead, or convert it: {_conversion(path)}")
    columns = _arrays(path) if path.suffix == ".pt" else _columns(_table(path, *((name,) for name in _PEOPLE)))
    if not columns:
        return []
    name = next((name for name in _PEOPLE if name in columns), None)
    if name is None:
        raise ValueError(f"no column {', '.join(_PEOPLE[:-1])} or {_PEOPLE[-1]}")
    people = columns[name]
    own = columns.get("clean_label", [None] * len(people))
    numbers = columns.get("index", [*range(len(people))])  # published files are in the original order
    rows = zip(numbers, own, people, strict=True)
    return _distinct(ListedImage(int(number), _class(ours, dataset), _class(theirs, dataset)) for number, ours, theirs in rows)


def votes(path: Path, dataset: Dataset) -> list[ListedImage]:
    """Return the votes of five people on each candidate, from the JSON of the paper or a CSV."""
    entries: list[dict[str, Any]] = _json(path) if path.suffix == ".json" else _table(path, ("index", "given"), ("id", "given"))
    return _distinct(
        ListedImage(
            int(entry["id"] if "id" in entry else entry["index"]),
            _class(entry.get("given_original_label", entry.get("given_label")), dataset),
            wrong=int(entry.get("mturk", entry)["given"]) < _MAJORITY,
        )
        for entry in entries
    )


def _distinct(listed: Iterable[ListedImage]) -> list[ListedImage]:
    """Return each image once. Raises ValueError if two entries of an image differ."""
    by_number: dict[int, ListedImage] = {}
    for one in listed:
        if by_number.setdefault(one.number, one) != one:
            raise ValueError(f"image {one.number} is listed twice with different values")
    return [*by_number.values()]


def label_sets(path: Path, dataset: Dataset) -> list[set[int]]:
    """Return ReaL's class numbers of each held-out image, in the original order."""
    entries = _json(path)
    count, numbers = len(dataset.held_out_numbers), range(len(dataset.classes))
    if len(entries) != count:
        raise ValueError(f"expected a list of {count:,} lists of class numbers, one per image, got {_shown(entries)}")
    for at, entry in enumerate(entries):
        if not isinstance(entry, list):
            raise TypeError(f"entry {at}: expected a list of class numbers, got {_shown(entry)}")
        for number in entry:
            if type(number) is not int or number not in numbers:  # bool is a subclass of int
                raise ValueError(f"entry {at}: {_shown(number)} is not a class number, an integer from {numbers[0]} to {numbers[-1]}")
    if not any(entries):
        raise ValueError("every entry is empty")
    return [set(entry) for entry in entries]


def _shown(value: object) -> str:
    """Describe an unexpected value briefly."""
    return f"a list of {len(value):,}" if isinstance(value, list) else reprlib.repr(value)


def _class(label: object, dataset: Dataset) -> str | None:
    """Return the class of a name or of a number in the published order. Raises ValueError if it is neither."""
    if label is None:
        return None
    named = dataset.class_of(label)
    if named is None and not (str(label).isdecimal() and int(str(label)) < len(dataset.classes)):
        raise ValueError(f"{label!r} is neither a class nor a class number of the dataset")
    return named or dataset.classes[int(str(label))]


def _json(path: Path) -> list[Any]:
    entries = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(entries, list):
        raise TypeError(f"expected a list, got {_shown(entries)}")
    return entries


def _table(path: Path, *forms: tuple[str, ...]) -> list[dict[str, str]]:
    """Return the rows of a CSV with the columns of one of the forms; strips a byte order mark and spaces around values."""
    rows = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        try:
            header = reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            if header and not any({*form} <= {*header} for form in forms):
                needed = " or ".join(", ".join(form) for form in forms)
                raise ValueError(f"expected comma-separated columns {needed}, got {', '.join(header)[:_SHOWN]!r}")
            for row in reader:
                if None in row or None in row.values():
                    raise ValueError(f"line {reader.line_num}: expected {len(header)} values")
                rows.append({name: value.strip() for name, value in row.items()})
        except csv.Error as error:
            raise ValueError(f"line {reader.line_num}: {error}") from error
    return rows


def _columns(rows: list[dict[str, str]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}


def _arrays(path: Path) -> dict[str, list[Any]]:
    """Read a dictionary of integer arrays saved by torch. Anything else in the file is refused without being loaded."""
    import torch

    rebuild = [(_rebuild, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]  # NumPy 1 and 2
    try:
        with (
            torch.serialization.safe_globals([*rebuild, (_Numbers, "numpy.ndarray"), (_Kind, "numpy.dtype")]),
            warnings.catch_warnings(action="ignore"),
        ):
            read = torch.load(path, map_location="cpu", weights_only=True)
        return {name: (values.values if isinstance(values, _Numbers) else values.tolist()) for name, values in read.items()}
    except OSError:
        raise
    except Exception as error:  # a corrupt or malicious file can make torch raise anything
        raise ValueError("corrupt, or contains anything but integer arrays") from error


class _Kind:
    """Replaces ``numpy.dtype`` in a file: NumPy's own does not validate its state, so a malicious file could crash it."""

    def __init__(self, code: str, *_: object) -> None:
        self._code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._code = str(state[1]) + self._code

    def read(self, data: bytes) -> list[int]:
        if not re.fullmatch(r"[<>|=]?[iu][1248]", self._code):
            raise ValueError(self._code)
        numbers: list[int] = np.frombuffer(data, self._code).tolist()
        return numbers


class _Numbers:
    """Replaces ``numpy.ndarray`` in a file; uses only the dtype and bytes of its state."""

    def __init__(self) -> None:
        self.values: list[int] = []

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        *_, kind, _, data = state
        self.values = kind.read(data)


def _rebuild(*_: object) -> _Numbers:
    return _Numbers()


def _conversion(path: Path) -> str:
    load = f"np.load({str(path)!r}, allow_pickle=True).item()"
    return f'python -c "import numpy as np, pandas as pd; pd.DataFrame({load}).to_csv({str(path.with_suffix(".csv"))!r})"'
