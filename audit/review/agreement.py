"""What decisions say of the people and of the checks: how far reviewers agree, and how often each check is right."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

CONFIDENCE = 0.95
"""Of the precision's interval."""


@dataclass(frozen=True, slots=True)
class AgreementTable:
    """How far reviewers agree on what they both decided; ``unsure`` counts as no decision."""

    pairs: pd.DataFrame
    """One row for each two reviewers with a subject in common: ``reviewer_a, reviewer_b, both, same, agreement, kappa``. ``kappa`` is Cohen's, NaN
    where both always gave one and the same answer."""
    alpha: float | None
    """Krippendorff's alpha over all reviewers, for nominal answers: 1 = always, 0 = as by chance; None where there is nothing to compare."""
    subjects: int
    """Subjects that two or more reviewers decided."""
    disputed: int
    """Those of them where not all gave the same answer."""


def agreement(decisions: pd.DataFrame) -> AgreementTable:
    """Return how far reviewers agree. Two answers are the same when the verdict is, and for ``relabel`` the label.

    Cohen (1960), A coefficient of agreement for nominal scales; Krippendorff (2011), Computing Krippendorff's alpha-reliability.

    Args:
        decisions: as `audit.review.decisions.Decisions.current` returns them.
    """
    import pandas as pd
    from sklearn.metrics import cohen_kappa_score

    decided = answers(decisions)
    counts = decided.groupby("subject").size()
    shared = decided[decided["subject"].isin(counts[counts >= 2].index)]
    wide = shared.pivot_table(index="subject", columns="reviewer", values="answer", aggfunc="first") if len(shared) else pd.DataFrame()
    rows = []
    for first, second in itertools.combinations(wide.columns, 2):
        both = wide[[first, second]].dropna()
        if len(both):
            same = int((both[first] == both[second]).sum())
            several = len({*both[first], *both[second]}) > 1  # else kappa is undefined
            kappa = float(cohen_kappa_score(both[first], both[second])) if several else float("nan")
            rows.append([first, second, len(both), same, same / len(both), kappa])
    tally = pd.crosstab(shared["subject"], shared["answer"]).to_numpy(np.int64)
    return AgreementTable(
        pairs=pd.DataFrame(rows, columns=["reviewer_a", "reviewer_b", "both", "same", "agreement", "kappa"]),
        alpha=_alpha(tally),
        subjects=len(tally),
        disputed=int(((tally > 0).sum(axis=1) > 1).sum()),
    )


def answers(decisions: pd.DataFrame) -> pd.DataFrame:
    """Return the decisions that are answers, all but ``unsure``, with a column ``answer``: the verdict, and for ``relabel`` the label too."""
    decided = decisions[decisions["verdict"] != "unsure"]
    label = decided["label"].where(decided["verdict"] == "relabel").fillna("").astype(str)
    return decided.assign(answer=decided["verdict"].astype(str) + ":" + label)


def precision(decisions: pd.DataFrame, findings: pd.DataFrame) -> pd.DataFrame:
    """Return how often each check's findings were right, as far as they were decided.

    A finding is right where most of its reviewers decided to accept, drop or relabel, wrong where most decided to keep; with as many for as against,
    or only ``unsure``, it is not counted. Reviewers begin with the worst findings, so this is the precision among those, not of all. Findings that
    are no longer in the run count too: a right one vanishes when it is mended.

    Args:
        decisions: as `audit.review.decisions.Decisions.current` returns them.
        findings: the run's; its checks are listed even where nothing was decided.

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


def _alpha(tally: npt.NDArray[np.int64]) -> float | None:
    """Return Krippendorff's alpha from how often each answer (column) was given to each subject (row)."""
    if not tally.size:
        return None
    raters, totals = tally.sum(axis=1), tally.sum(axis=0)
    number = totals.sum()
    observed = float(((raters**2 - (tally**2).sum(axis=1)) / (raters - 1)).sum() / number)
    expected = float((number**2 - (totals**2).sum()) / (number * (number - 1)))
    return None if expected == 0 else 1 - observed / expected
