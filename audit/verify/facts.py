"""What is published about well-known datasets, as data: one CSV a dataset, one row a fact, with the paper it comes from."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files

from audit.errors import ConfigError, nearest

DATASETS = ("imagenet-1k", "cifar-10", "cifar-100")


@dataclass(frozen=True, slots=True)
class Fact:
    """One row of an answer key."""

    key: str
    what: str
    expected: str
    """A count, a share, or words where neither is published: ``few``."""
    needs: str
    """``pairs``, a check's name, or the key of a public label file."""
    source: str


def answer_key(dataset: str) -> list[Fact]:
    """Return a dataset's published facts. Raises ConfigError where none are known."""
    if dataset not in DATASETS:
        raise ConfigError("--dataset", f"no published facts about {dataset!r}", nearest(dataset, DATASETS))
    text = (files(__package__) / f"{dataset}.csv").read_text(encoding="utf-8")
    return [Fact(**row) for row in csv.DictReader(text.splitlines())]
