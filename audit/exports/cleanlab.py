"""Arrays for cleanlab in one folder: ``labels.npy``, ``pred_probs.npy``, ``ids.json`` (row by row) and ``classes.json``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.errors import AuditError
from audit.exports.base import write_text
from audit.io.artifacts import filling, write_array

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from audit.run.run import Run

ENDINGS = ("",)

_ROWS_AT_ONCE = 65_536


def write(run: Run, actions: pd.DataFrame, out: Path) -> dict[str, Any]:
    """Write the images with one label and a prediction; decided labels replace given labels, and dropped images are left out."""
    state = run.record.get("stages", {}).get("predictions", {})
    if not (run.tables / "predictions.npy").is_file():
        raise AuditError("cleanlab", "the run has no predictions", f"scan a labelled dataset with label_errors {state.get('reason', '')}".strip())
    samples = run.columns("sample_id", "label")
    label = samples["label"].copy()
    relabelled = actions[actions["action"] == "relabel"]
    label.iloc[relabelled["row"].to_numpy(int)] = relabelled["label"].to_numpy()
    index = {name: at for at, name in enumerate(run.classes)}
    codes = np.array(label.map(index).fillna(-1), np.int64)  # a copy: the array of a pandas Series may be read-only
    codes[actions.loc[actions["action"] == "drop", "row"].to_numpy(int)] = -1
    predictions = run.predictions
    rows = np.flatnonzero((codes >= 0) & np.isfinite(predictions[:, 0]))
    out.mkdir(exist_ok=True)
    with filling(out / "pred_probs.npy", (len(rows), predictions.shape[1]), np.float32) as chosen:
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            chosen[start : start + _ROWS_AT_ONCE] = predictions[rows[start : start + _ROWS_AT_ONCE]]
    write_array(out / "labels.npy", codes[rows])
    write_text(out / "ids.json", json.dumps(samples["sample_id"].iloc[rows].tolist()) + "\n")
    write_text(out / "classes.json", json.dumps(run.classes) + "\n")
    return {"images": len(rows), "classes": len(run.classes)}
