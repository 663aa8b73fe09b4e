"""What is published about well-known datasets, as data: one CSV a dataset, one row a fact, with the paper it comes from."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files

from audit.errors import ConfigError, nearest

DATASETS = ("imagenet-1k", "cifar-10", "cifar-100")
_CIFAR_10 = frozenset({"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"})
_CIFAR_100 = frozenset({"aquarium_fish", "lawn_mower", "pickup_truck", "sweet_pepper", "willow_tree"})
_SYNSET = re.compile(r"n\d{8}")


@dataclass(frozen=True, slots=True)
class Fact:
    """One row of an answer key."""

    key: str
    what: str
    expected: str
    """A count, a share, or ``all``: as many as the label file lists for the images of the run."""
    needs: str
    """``pairs``, a check's name, or the key of a public label file."""
    source: str


def answer_key(dataset: str) -> list[Fact]:
    """Return a dataset's published facts. Raises ConfigError where none are known."""
    if dataset not in DATASETS:
        raise ConfigError("--dataset", f"no answer key for {dataset!r}", nearest(dataset, DATASETS))
    text = (files(__name__) / f"{dataset}.csv").read_text(encoding="utf-8")
    return [Fact(**row) for row in csv.DictReader(text.splitlines())]


def recognise(labels: Iterable[str]) -> str | None:
    """Return which dataset a run's labels are of; None where they are of none that has an answer key."""
    names = set(labels)
    if names and names <= _CIFAR_10:
        return "cifar-10"
    if names >= _CIFAR_100:
        return "cifar-100"
    return "imagenet-1k" if names and all(_SYNSET.fullmatch(name) for name in names) else None
