"""A run on the reviewer's desk: its cards and decisions, shared by all sessions of the server."""

from __future__ import annotations

import threading
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from audit.review.cards import Card, Cards
from audit.review.decisions import Decisions
from audit.run.run import Run

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

STRONGEST = ("disputed", "drop", "relabel", "accept", "keep", "unsure")
"""Verdicts of a card whose findings have several, the one to show first."""


class Desk:
    """A run with its cards and decisions.

    Args:
        run: a finished run.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.lock = threading.RLock()
        """Held while decisions are read or written."""
        self.decisions = Decisions(run.path)
        self.maps: dict[str, Any] = {}
        """The map of the images, or the thread that computes it; see `dashboard.api.map`."""

    @cached_property
    def cards(self) -> Cards:
        """The run's cards."""
        return Cards(self.run)

    def standing(self) -> pd.DataFrame:
        """Return the current decisions."""
        with self.lock:
            return self.decisions.current()


@lru_cache(maxsize=2)
def desk_of(run: Run) -> Desk:
    """Return the desk of a run; a run that was scanned again is another one."""
    return Desk(run)


class Verdicts:
    """The verdicts of findings and images, from the current decisions.

    Args:
        standing: as `audit.review.decisions.Decisions.current` returns them.
    """

    def __init__(self, standing: pd.DataFrame) -> None:
        self.of_finding: Mapping[str, str] = verdict_of(standing)
        of_images = standing[standing["finding_id"].isna() & standing["sample_id"].notna()]
        self._of_image: dict[str, str] = {}
        for name, verdict in zip(of_images["sample_id"], of_images["verdict"], strict=True):
            before = self._of_image.get(name)
            self._of_image[name] = verdict if before in (None, verdict) else "disputed"

    def of(self, card: Card) -> str | None:
        """Return the verdict of a card; None if one of its findings is undecided."""
        given = {self.of_finding.get(finding) for finding in card.findings} | {self._of_image[name] for name in card.images if name in self._of_image}
        if None in given or not given:
            return None
        return next((verdict for verdict in STRONGEST if verdict in given), None)


def verdict_of(decisions: pd.DataFrame) -> dict[str, str]:
    """Return finding id -> current verdict: ``disputed`` if reviewers differ, ``unsure`` if that is the only verdict.

    Args:
        decisions: as `audit.review.decisions.Decisions.current` returns them.
    """
    found: dict[str, str] = {}
    about = decisions[decisions["finding_id"].notna()]
    for finding, verdict in zip(about["finding_id"], about["verdict"], strict=True):
        before = found.get(finding)
        if before in (None, "unsure", verdict):
            found[finding] = verdict
        elif verdict != "unsure":
            found[finding] = "disputed"
    return found
