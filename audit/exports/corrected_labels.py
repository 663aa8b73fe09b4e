"""Images decided to be relabelled: the given and the new label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audit.exports.base import ENDINGS, write_frame

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from audit.run.run import Run

__all__ = ["ENDINGS", "write"]


def write(run: Run, actions: pd.DataFrame, out: Path) -> dict[str, Any]:  # noqa: ARG001 - every export takes the run
    """Write ``sample_id, content_id, given_label, label, checks, reviewers, note`` of each image whose label changes."""
    changed = actions[(actions["action"] == "relabel") & (actions["label"] != actions["given_label"])]
    write_frame(changed[["sample_id", "content_id", "given_label", "label", "checks", "reviewers", "note"]], out)
    return {"images": len(changed)}
