"""The dataset as it was decided to be: every image that stays, with its right label. Images that failed to decode are left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audit.exports.table import ENDINGS, write_frame

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from audit.run import Run

__all__ = ["ENDINGS", "write"]


def write(run: Run, actions: pd.DataFrame, out: Path) -> dict[str, Any]:
    """Write ``sample_id, split, label, content_id`` of each image that stays."""
    samples = run.columns("sample_id", "split", "label", "labels", "content_id", "outcome")
    relabelled = actions[actions["action"] == "relabel"]
    several = samples["labels"].notna()
    label = samples["label"].mask(several, samples["labels"].map(lambda labels: "|".join(labels) if labels is not None else None))
    label.iloc[relabelled["row"].to_numpy(int)] = relabelled["label"].to_numpy()
    stays = samples["outcome"] == "ok"
    failed = int((~stays).sum())
    dropped = actions.loc[actions["action"] == "drop", "row"].to_numpy(int)
    stays.iloc[dropped] = False
    write_frame(samples.assign(label=label).loc[stays, ["sample_id", "split", "label", "content_id"]], out)
    return {"images": int(stays.sum()), "dropped": len(dropped), "relabelled": len(relabelled), "failed": failed}
