"""The flagged images as a FiftyOne dataset (``fiftyone.types.LegacyFiftyOneDataset``).

Each sample has its label, suggested and decided label, highest score, checks and messages; tags hold the split and the decision.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.exports.base import without_missing, write_text

if TYPE_CHECKING:
    import pandas as pd

    from audit.run.run import Run

TITLE = "FiftyOne"
ENDINGS = ("",)


def write(run: Run, actions: pd.DataFrame, out: Path) -> dict[str, Any]:
    """Write ``metadata.json`` and ``samples.json``; images are referenced by path, not copied."""
    root = str(run.record["source"].get("absolute") or run.record["source"]["location"])
    findings = run.findings
    findings = findings[findings["sample_id"].notna()]
    names = findings["sample_id"].unique().tolist()
    rows = run.rows_of(names)
    samples = run.columns("sample_id", "content_id", "split", "label", rows=rows[rows >= 0])
    decided = {int(row["row"]): row for row in actions.to_dict("records")}
    found = {name: group for name, group in findings.groupby("sample_id")}  # noqa: C416 - a GroupBy is not a mapping
    content = []
    plain = [without_missing({str(key): value for key, value in sample.items()}) for sample in samples.to_dict("records")]
    for row, sample in zip(rows[rows >= 0].tolist(), plain, strict=True):
        about = found[sample["sample_id"]]
        action = decided.get(row)
        content.append(
            {
                "filepath": str(Path(root) / sample["sample_id"]),
                "tags": [tag for tag in (sample["split"], f"audit:{action['action']}" if action else None) if tag],
                "ground_truth": _classification(sample["label"]),
                "suggested": _classification(next((label for label in about["suggested_label"] if isinstance(label, str)), None)),
                "decided": _classification(action["label"] if action else None),
                "audit_score": float(np.float32(about["score"].max())),
                "audit_checks": sorted(about["check"].unique()),
                "audit_messages": about["message"].tolist(),
                "content_id": sample["content_id"],
            }
        )
    out.mkdir(exist_ok=True)
    write_text(out / "metadata.json", json.dumps({"name": "imagenet-audit", "media_type": "image", "info": {"run": str(run.path)}}))
    write_text(out / "samples.json", json.dumps({"samples": content}))
    return {"samples": len(content)}


def _classification(label: str | None) -> dict[str, str] | None:
    return {"_cls": "Classification", "label": label} if label else None
