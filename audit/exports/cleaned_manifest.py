"""The dataset after all decisions: every kept image with its final label. Images that failed to decode are left out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from audit.exports.base import ENDINGS, write_frame
from audit.review.consensus import groups_gone

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from audit.run.run import Run

__all__ = ["ENDINGS", "write"]


def write(run: Run, actions: pd.DataFrame, out: Path) -> dict[str, Any]:
    """Write ``sample_id, split, label, content_id`` of each kept image; ``labels`` replaces ``label`` if images have several labels.

    A scan of the manifest reads the same labels.
    """
    samples = run.columns("sample_id", "split", "label", "labels", "content_id", "outcome")
    relabelled = actions[actions["action"] == "relabel"]
    name = "labels" if samples["labels"].notna().any() else "label"
    label = samples["label"].copy()
    label.iloc[relabelled["row"].to_numpy(int)] = relabelled["label"].to_numpy()
    labels = samples["labels"].where(samples["label"].isna() & label.isna(), label.map(lambda only: [only], na_action="ignore"))
    cells = labels.map(lambda some: _cell(list(some), name), na_action="ignore")
    stays = samples["outcome"] == "ok"
    failed = int((~stays).sum())
    dropped = actions.loc[actions["action"] == "drop", "row"].to_numpy(int)
    stays.iloc[dropped] = False
    write_frame(samples.assign(**{name: cells}).loc[stays, ["sample_id", "split", name, "content_id"]], out)
    gone = len(groups_gone(run, dropped))
    return {"images": int(stays.sum()), "dropped": len(dropped), "relabelled": len(relabelled), "failed": failed, "groups_gone": gone}


def _cell(labels: list[str], column: str) -> str:
    """Return labels in the form that `audit.sources.annotations.columns.read_labels` reads from a column of that name."""
    text = "|".join(labels)
    parted = column == "labels" and any(mark in label for label in labels for mark in "|;")
    return json.dumps(labels, ensure_ascii=False) if parted or text.lstrip().startswith("[") else text
