"""The order in which findings should be reviewed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from audit.tables import SEVERITIES

if TYPE_CHECKING:
    import pandas as pd

MOST_CERTAIN = ("conflicting_labels",)
"""Checks that come first at equal severity: the same image with two labels is an error for any meaning of the labels."""

CREDIT = 2
"""Right decisions that every check is assumed to have at the start, so that one wrong finding does not demote it."""

MORE_OFTEN_WRONG = 0.5
"""Findings of a check whose precision interval is below this rank one severity lower."""


def ranked(findings: pd.DataFrame, precision: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return findings sorted by how much they deserve review.

    The order is by severity, certainty of the check and score; ties by check and id. Decisions change it: a score is weighted by its check's
    precision, ``(right + CREDIT) / (decided + CREDIT)``, and findings of a check that is wrong more often than right rank one severity lower.

    Args:
        findings: columns of ``audit.tables.FINDINGS``; values are unchanged.
        precision: as `audit.review.agreement.precision` returns it; None without decisions.
    """
    level = findings["severity"].map({name: position for position, name in enumerate(reversed(SEVERITIES))}).to_numpy(np.int64)
    score = findings["score"].to_numpy(np.float64)
    if precision is not None and precision["decided"].any():
        measured = precision.set_index("check")
        weight = (measured["right"] + CREDIT) / (measured["decided"] + CREDIT)
        score = score * findings["check"].map(weight).fillna(1.0).to_numpy(np.float64)
        poor = measured.index[measured["high"] < MORE_OFTEN_WRONG]
        level = np.minimum(level + findings["check"].isin(poor).to_numpy(), len(SEVERITIES) - 1)
    certain = findings["check"].isin(MOST_CERTAIN).to_numpy()
    order = np.lexsort((-score, ~certain, level))
    numbers = np.column_stack([level, certain, score])[order]
    like_before = np.append(False, (numbers[1:] == numbers[:-1]).all(axis=1))
    tied = np.flatnonzero(like_before | np.append(like_before[1:], False))
    if len(tied):  # compare strings only here: scores rarely agree to the last bit
        names = findings[["check", "finding_id"]].iloc[order[tied]].assign(_group=np.cumsum(~like_before)[tied], _row=order[tied])
        order[tied] = names.sort_values(["_group", "check", "finding_id"], kind="stable")["_row"].to_numpy()
    return findings.iloc[order]
