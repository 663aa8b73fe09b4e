"""Measure decisions: how far reviewers agree, and how often each check is right."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

CONFIDENCE = 0.95
"""Confidence level of the precision's interval."""


@dataclass(frozen=True, slots=True)
class AgreementTable:
    """Agreement of reviewers on subjects that two or more decided; ``unsure`` is not a decision."""

    pairs: pd.DataFrame
    """One row per two reviewers with a common subject: ``reviewer_a, reviewer_b, both, same, agreement, kappa``. ``kappa`` is Cohen's, NaN if both
    always gave the same single answer."""
    alpha: float | None
    """Krippendorff's alpha over all reviewers, for nominal answers: 1 = full agreement, 0 = chance; None if there is nothing to compare."""
    subjects: int
    """Subjects that two or more reviewers decided."""
    disputed: int
    """Subjects with different answers."""


def agreement(decisions: pd.DataFrame) -> AgreementTable:
    """Return how far reviewers agree. Answers agree if the verdict is the same and, for ``relabel``, the label.

    Cohen (1960), A coefficient of agreement for nominal scales; Krippendorff (2011), Computing Krippendorff's alpha-reliability.

    Args:
        decisions: as `audit.review.decisions.Decisions.current` returns them.
    """
    import pandas as pd

    decided = answers(decisions)
    counts = decided.groupby("subject").size()
    shared = decided[decided["subject"].isin(counts[counts >= 2].index)]
    wide = shared.pivot_table(index="subject", columns="reviewer", values="answer", aggfunc="first") if len(shared) else pd.DataFrame()
    rows = []
    for first, second in itertools.combinations(wide.columns, 2):
        both = wide[[first, second]].dropna()
        if len(both):
            same = int((both[first] == both[second]).sum())
            rows.append([first, second, len(both), same, same / len(both), _kappa(both[first], both[second])])
    tally = pd.crosstab(shared["subject"], shared["answer"]).to_numpy(np.int64)
    return AgreementTable(
        pairs=pd.DataFrame(rows, columns=["reviewer_a", "reviewer_b", "both", "same", "agreement", "kappa"]),
        alpha=_alpha(tally),
        subjects=len(tally),
        disputed=int(((tally > 0).sum(axis=1) > 1).sum()),
    )


def answers(decisions: pd.DataFrame) -> pd.DataFrame:
    """Return the decisions except ``unsure``, with a column ``answer``: the verdict and, for ``relabel``, the label."""
    decided = decisions[decisions["verdict"] != "unsure"]
    label = decided["label"].where(decided["verdict"] == "relabel").fillna("").astype(str)
    return decided.assign(answer=decided["verdict"].astype(str) + ":" + label)


def precision(decisions: pd.DataFrame, findings: pd.DataFrame) -> pd.DataFrame:
    """Return how often each check's decided findings were right.

    A finding is right if most reviewers decided to accept, drop or relabel, and wrong if most decided to keep. Ties and findings with only ``unsure``
    do not count. Reviewers begin with the worst findings, so this is the precision among those, not among all. Findings that are no longer in the
    run count too, because a right finding disappears once it is fixed.

    Args:
        decisions: as `audit.review.decisions.Decisions.current` returns them.
        findings: the run's findings; all their checks are listed, also without decisions.

    Returns:
        ``check, decided, right, precision, low, high``, by check. ``low`` and ``high`` bound Jeffreys' 95 % interval (Brown, Cai & DasGupta 2001,
        Interval estimation for a binomial proportion); without decisions the precision is NaN and the interval 0 to 1.
    """
    import pandas as pd
    from scipy.special import betaincinv

    decided = decisions[(decisions["verdict"] != "unsure") & decisions["check"].notna() & decisions["finding_id"].notna()]
    vote = np.where(decided["verdict"] == "keep", -1, 1)
    balance = pd.Series(vote, index=decided.index).groupby([decided["check"], decided["finding_id"]]).sum()
    clear = balance[balance != 0]
    by_check = (clear > 0).groupby(level=0).agg(["size", "sum"])
    names = sorted({*findings["check"].unique(), *by_check.index})
    totals = by_check.reindex(names, fill_value=0).to_numpy(np.int64).reshape(-1, 2)
    number, right = totals[:, 0], totals[:, 1]
    tail = (1 - CONFIDENCE) / 2
    low = np.where(right == 0, 0.0, betaincinv(right + 0.5, number - right + 0.5, tail))
    high = np.where(right == number, 1.0, betaincinv(right + 0.5, number - right + 0.5, 1 - tail))
    share = np.divide(right, number, out=np.full(len(names), np.nan), where=number > 0)
    return pd.DataFrame({"check": names, "decided": number, "right": right, "precision": share, "low": low, "high": high})


def _kappa(first: pd.Series, second: pd.Series) -> float:
    """Return Cohen's kappa; NaN, as it is undefined, if both always gave the same single answer."""
    if len({*first, *second}) < 2:
        return float("nan")
    from sklearn.metrics import cohen_kappa_score  # takes a second to import, and every summary of a run asks for the agreement

    return float(cohen_kappa_score(first, second))


def _alpha(tally: npt.NDArray[np.int64]) -> float | None:
    """Return Krippendorff's alpha from the number of times each answer (column) was given to each subject (row)."""
    if not tally.size:
        return None
    raters, totals = tally.sum(axis=1), tally.sum(axis=0)
    number = totals.sum()
    observed = float(((raters**2 - (tally**2).sum(axis=1)) / (raters - 1)).sum() / number)
    expected = float((number**2 - (totals**2).sum()) / (number * (number - 1)))
    return None if expected == 0 else 1 - observed / expected
