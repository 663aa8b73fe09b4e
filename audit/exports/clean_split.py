"""Splits without leakage: every image with its split, or none if it is removed.

Groups that are in several splits move into one, unless reviewers decided to keep one of their images where it is. Removed are the images that
`audit.pairs.clean_split` proposes, unless reviewers decided to keep them, and the images decided to be dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from audit.errors import AuditError
from audit.exports.base import ENDINGS, write_frame
from audit.pairs.clean_split import KEEP, propose, whole_groups
from audit.review.consensus import groups_gone

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from audit.run.run import Run

__all__ = ["ENDINGS", "write"]


def write(run: Run, actions: pd.DataFrame, out: Path) -> dict[str, Any]:
    """Write ``sample_id, split, new_split, reason``; ``new_split`` is empty for a removed image."""
    state = run.record.get("checks", {}).get("leakage", {})
    if state.get("state") != "done":
        raise AuditError(
            "clean-split", f"the run has no leakage results: {state.get('reason') or 'leakage did not run'}", "scan with the leakage check"
        )
    samples = run.columns("sample_id", "split", "group")
    reason = samples["split"].map(lambda _: "")
    whole = run.record.get("options", {}).get("checks", {}).get("leakage", {}).get("keep", KEEP)
    kept = actions.loc[actions["action"] == "keep", "row"]
    moving = whole_groups(samples, keep=whole)
    moving = moving[~moving["group"].isin(moving.loc[moving["row"].isin(kept), "group"]) & (moving["split"] != moving["new_split"])]
    new = samples["split"].copy()
    new.iloc[moving["row"].to_numpy(int)] = moving["new_split"].to_numpy()
    reason.iloc[moving["row"].to_numpy(int)] = [f"most images of its group are in {split!r}" for split in moving["new_split"]]
    proposed = propose(samples.assign(split=new), run.pairs, keep=whole)
    leaving = proposed[~proposed["row"].isin(kept)]
    dropped = actions.loc[actions["action"] == "drop", "row"].to_numpy(int)
    for at, why in ((leaving["row"].to_numpy(int), leaving["reason"].to_numpy()), (dropped, "decided to be dropped")):
        new.iloc[at] = None
        reason.iloc[at] = why
    write_frame(samples[["sample_id", "split"]].assign(new_split=new, reason=reason), out)
    removed = (reason != "") & new.isna()
    moved = int(((reason != "") & ~removed).sum())
    return {"images": len(samples), "leaving": int(removed.sum()), "moved": moved, "groups_gone": len(groups_gone(run, np.flatnonzero(removed)))}
