"""Compare the changes of a dataset's images with a policy's limits: removed, added, changed, moved to another split, relabelled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from audit.gate.verdict import FAILED, NO_BASELINE, NOT_JUDGED, PASSED, Verdict

if TYPE_CHECKING:
    from audit.diff.sample_changes import SampleChanges
    from audit.gate.policy import Limit

_SHOWN = 5
"""Splits or classes listed."""


def judge_changes(limit: Limit, changes: SampleChanges | None, *, of_report: bool) -> Verdict:
    """Judge one limit on changes. A share is exact, not estimated: all images of both versions are known.

    Args:
        limit: as read; ``check`` is the change.
        changes: from the lock or the baseline to the run; None without either.
        of_report: whether the baseline is a report, which does not list the images.
    """
    if changes is None:
        return Verdict(
            limit.name, NOT_JUDGED, "the baseline is a report, which lists no images: pass a run or --since LOCK" if of_report else NO_BASELINE
        )
    counted = counts(changes, limit.check)
    for name, wanted in limit.scope.items():
        counted = counted[counted[name] == wanted]
    if limit.per is None:
        counted = counted[["changed", "images"]].sum().to_frame().T.assign(name="")
    else:
        counted = counted.groupby(limit.per)[["changed", "images"]].sum().reset_index(names="name")
    share = counted["changed"] / counted["images"].clip(lower=1)
    over = np.zeros(len(counted), bool)
    if limit.count is not None:
        over |= (counted["changed"] > limit.count).to_numpy()
    if limit.rate is not None:
        over |= (share > limit.rate).to_numpy()
    limits = ([] if limit.count is None else [f"{limit.count:,}"]) + ([] if limit.rate is None else [f"{limit.rate:.2%}"])
    shown = counted.assign(share=share, over=over).sort_values(["over", "share", "name"], ascending=[False, False, True]).head(_SHOWN)
    figures = [
        f"{row['name']} {row['changed']:,} of {row['images']:,} ({row['share']:.2%})".strip()
        for row in shown[["name", "changed", "images", "share"]].to_dict("records")
    ]
    return Verdict(limit.name, FAILED if over.any() else PASSED, f"{limit.check}: {', '.join(figures) or 'no image'}; limit {' and '.join(limits)}")


def counts(changes: SampleChanges, change: str) -> pd.DataFrame:
    """Return the images with a change and the images of the old version, per split and class.

    Args:
        changes: from the old to the new version.
        change: one of ``audit.diff.sample_changes.MORE_THAN_NAMES``.

    Returns:
        Columns ``split, class`` (names of the old version, or the new ones if they were renamed as a whole; "" for none), ``changed, images``.
        Added images have the split and class of the new version.
    """
    rows = changes.samples[changes.samples[change]]
    side = "new" if change == "added" else "old"
    names = {"split": changes.renamed_splits, "class": changes.renamed_classes} if side == "old" else {"split": {}, "class": {}}
    columns = {"split": f"{side}_split", "class": f"{side}_label"}
    given = pd.DataFrame({name: rows[column].replace(dict(names[name])).fillna("") for name, column in columns.items()})
    changed = given.value_counts().rename("changed")
    found = changes.sizes.set_index(["split", "class"])["images"].to_frame().join(changed, how="outer").fillna(0).astype(int)
    return found.reset_index()
