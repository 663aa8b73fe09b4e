"""Readers of the label files that papers publish, in the forms they are published in; nothing is ever unpickled.

Each raises ValueError, KeyError, TypeError or OSError where a file is of another form, RecursionError where JSON is nested too deep.
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
"""What people said, by the names that CIFAR-10N and CIFAR-100N give it; of several the first counts."""

_SAME_PICTURE = frozenset({"0", "1"})
"""ciFAIR's judgments for an exact and a near duplicate; 2 is a very similar picture of something else."""

_MAJORITY = 3
"""Of five people; a label for which fewer voted counts as wrong (Northcutt et al. 2021)."""

_SHOWN = 200
"""Characters of a file's header that an error shows: a file that is no table may have no second line."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a file tells of one image."""

    number: int
    """In the dataset's original order."""
    own: str | None
    """The class that the dataset gives the image, as the file has it; None where the file does not tell."""
    people: str | None = None
    """The class that people give it."""
    wrong: bool = False
    """Whether people found the dataset's label wrong."""


def listed_pairs(path: Path) -> list[tuple[int, int]]:
    """Return the numbers of the test and the train image of each pair that shows one picture."""
    rows = _table(path, ("test_index", "train_index"), ("TestID", "TrainID", "Judgment"))
    if rows and "TestID" in rows[0]:
        pairs = [(int(row["TestID"]), int(row["TrainID"])) for row in rows if row["Judgment"] in _SAME_PICTURE]
    else:
        pairs = [(int(row["test_index"]), int(row["train_index"])) for row in rows if row.get("verdict", "duplicate") == "duplicate"]
    return list(dict.fromkeys(pairs))


def human_labels(path: Path, dataset: Dataset) -> list[Told]:
    """Return what people said of the train images, from CIFAR-N's ``.pt`` or a CSV with the same columns.

    Raises:
        SourceError: the file is a pickled ``.npy``, which could run anything.
    """
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
    numbers = columns.get("index", [*range(len(people))])  # published files have no index: they are in the original order
    return _once(Told(int(number), _class(ours, dataset), _class(theirs, dataset)) for number, ours, theirs in zip(numbers, own, people, strict=True))


def votes(path: Path, dataset: Dataset) -> list[Told]:
    """Return what five people each said of the candidates, from the JSON of the paper or a CSV."""
    entries: list[dict[str, Any]] = _json(path) if path.suffix == ".json" else _table(path, ("index", "given"), ("id", "given"))
    return _once(
        Told(
            int(entry["id"] if "id" in entry else entry["index"]),
            _class(entry.get("given_original_label", entry.get("given_label")), dataset),
            wrong=int(entry.get("mturk", entry)["given"]) < _MAJORITY,
        )
        for entry in entries
    )


def _once(told: Iterable[Told]) -> list[Told]:
    """Return what a file tells of each image, once. Raises ValueError where it tells two things of one."""
    by_number: dict[int, Told] = {}
    for one in told:
        if by_number.setdefault(one.number, one) != one:
            raise ValueError(f"image {one.number} is listed twice with different values")
    return [*by_number.values()]


def label_sets(path: Path, dataset: Dataset) -> list[set[int]]:
    """Return ReaL's class numbers of each held-out image, the first image first."""
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
    """Return what a file holds instead of what it should, in a few words."""
    return f"a list of {len(value):,}" if isinstance(value, list) else reprlib.repr(value)


def _class(label: object, dataset: Dataset) -> str | None:
    """Return the class of a name or of a number in the published order; ValueError where it is neither."""
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
    """Return the rows of a CSV that has the columns of one of the forms; a byte order mark and spaces around values are left out."""
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
    """Read a dictionary of whole numbers by name, saved by torch. Anything else in it is refused unread."""
    import torch

    rebuild = [(_rebuild, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]  # as NumPy 1 and 2 name it
    try:
        with (
            torch.serialization.safe_globals([*rebuild, (_Numbers, "numpy.ndarray"), (_Kind, "numpy.dtype")]),
            warnings.catch_warnings(action="ignore"),
        ):
            read = torch.load(path, map_location="cpu", weights_only=True)
        return {name: (values.values if isinstance(values, _Numbers) else values.tolist()) for name, values in read.items()}
    except OSError:
        raise
    except Exception as error:  # a damaged or hostile file can make torch raise anything
        raise ValueError("corrupt, or contains anything but integer arrays") from error


class _Kind:
    """Stands for ``numpy.dtype`` in a file: NumPy's own takes what it is told, and a hostile file could break it."""

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
    """Stands for ``numpy.ndarray`` in a file; of a state only kind and bytes are used."""

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
