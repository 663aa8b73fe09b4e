"""Estimate how many suspicious labels to review, from the verdicts so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audit.labels.review_yield import Yield, expected_yield
from audit.labels.statistics import ends_of
from audit.review.consensus import rows_of_run

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from audit.run.run import Run

CHECK = "label_errors"
WORTH_IT = 0.5
"""Expected share of wrong labels down to which a list is worth a reviewer's time."""
NEARLY_ALL = 0.9
"""Share of all wrong labels that counts as nearly all, by choice: the last tenth is scattered over labels that look right."""


@dataclass(frozen=True, slots=True)
class ReviewDepth:
    """How many labels to review, the most suspicious first, including those already decided."""

    labels: int
    """Length of the whole list."""
    worth_it: int
    """Number of labels of which `WORTH_IT` are expected to be wrong; 0 if not even the first ones are."""
    nearly_all: int
    """Number of labels that are expected to hold `NEARLY_ALL` of all wrong ones."""


def review_depth(run: Run, decisions: pd.DataFrame) -> ReviewDepth | None:
    """Return how many of the run's labels to review; None without predictions or without decisions about labels.

    Args:
        run: a finished run.
        decisions: as `audit.review.decisions.Decisions.current` returns them.

    Raises:
        RunError: the run's label quality is corrupt.
    """
    about_labels = decisions[(decisions["check"] == CHECK) & decisions["sample_id"].notna()]
    if not len(about_labels) or not (run.tables / "label_quality.parquet").is_file():
        return None
    outcome = outcomes(len(run), rows_of_run(run, about_labels), about_labels["verdict"].to_numpy(object))
    if np.isnan(outcome).all():
        return None
    quality = run.label_quality
    found = expected_yield(quality["score"].to_numpy(), quality["probability_wrong"].to_numpy(), outcome=outcome, ends=ends_of(quality))
    return ReviewDepth(len(found.depth), depth_for_precision(found, WORTH_IT), depth_for_recall(found, NEARLY_ALL))


def outcomes(n: int, rows: npt.NDArray[np.int64], verdicts: npt.NDArray[np.object_]) -> npt.NDArray[np.float64]:
    """Return ``[n]`` the majority decision about each label: 1 = wrong, 0 = right, NaN = undecided or a tie.

    Args:
        n: number of samples.
        rows: ``[m]`` row of each decision; -1 = not about a sample.
        verdicts: ``[m]``; ``keep`` means that the label is right, ``unsure`` is ignored, any other means that it is wrong.
    """
    vote = np.where(verdicts == "keep", -1, 1) * ((verdicts != "unsure") & (rows >= 0))
    balance = np.zeros(n, np.int64)
    np.add.at(balance, rows, vote)
    return np.where(balance == 0, np.nan, (balance > 0).astype(np.float64))


def depth_for_precision(found: Yield, precision: float) -> int:
    """Return the largest depth at which at least this share of the labels is expected to be wrong; 0 if there is none.

    Args:
        found: as `expected_yield` returns it, for every depth.
        precision: the share, 0..1.
    """
    reached = np.flatnonzero(found.precision >= precision)
    return int(found.depth[reached[-1]]) if len(reached) else 0


def depth_for_recall(found: Yield, recall: float) -> int:
    """Return how many labels to review to find this share, 0..1, of all wrong ones; at most the whole list."""
    reached = np.flatnonzero(found.recall >= recall - 1e-12)
    return int(found.depth[reached[0]]) if len(reached) else int(found.depth[-1]) if len(found.depth) else 0
