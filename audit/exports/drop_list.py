"""Images decided to be dropped, with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from audit.exports.base import ENDINGS, write_frame
from audit.review.consensus import groups_gone

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from audit.run.run import Run

__all__ = ["ENDINGS", "write"]


def write(run: Run, actions: pd.DataFrame, out: Path) -> dict[str, Any]:
    """Write ``sample_id, content_id, label, checks, reviewers, note`` of each image to drop."""
    dropped = actions[actions["action"] == "drop"].drop(columns="label").rename(columns={"given_label": "label"})
    write_frame(dropped[["sample_id", "content_id", "label", "checks", "reviewers", "note"]], out)
    return {"images": len(dropped), "groups_gone": len(groups_gone(run, dropped["row"].to_numpy(np.int64)))}
