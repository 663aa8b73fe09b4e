"""Published facts about well-known datasets: one CSV per dataset, one row per fact, with its paper."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files

from audit.errors import ConfigError, nearest

DATASETS = ("imagenet-1k", "cifar-10", "cifar-100")


@dataclass(frozen=True, slots=True)
class Fact:
    """A published fact."""

    key: str
    what: str
    expected: str
    """A count, a share, or a word if no number is published: ``few``."""
    needs: str
    """``pairs``, a check's name, or the key of a public label file."""
    source: str


def published_facts(dataset: str) -> list[Fact]:
    """Return the published facts about a dataset. Raises ConfigError if there are none."""
    if dataset not in DATASETS:
        raise ConfigError("--dataset", f"no published facts about {dataset!r}", nearest(dataset, DATASETS))
    text = (files(__package__) / f"{dataset}.csv").read_text(encoding="utf-8")
    return [Fact(**row) for row in csv.DictReader(text.splitlines())]
