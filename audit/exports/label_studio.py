"""Tasks for Label Studio: the flagged images, with suggested labels as predictions and decided labels as annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from audit.exports.base import write_json_file

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from audit.run.run import Run

TITLE = "Label Studio"
ENDINGS = (".json",)


def write(run: Run, actions: pd.DataFrame, out: Path) -> dict[str, Any]:
    """Write one task per image.

    The labelling interface needs ``<Choices name="label" toName="image">``, and Label Studio must serve the dataset's folder as local files.
    """
    root = str(run.record["source"].get("absolute") or run.record["source"]["location"])
    findings = run.findings
    decided = {row["sample_id"]: row for row in actions.to_dict("records")}
    tasks = []
    for name, about in findings[findings["sample_id"].notna()].groupby("sample_id", sort=False):
        first = about.iloc[0]
        suggested = next(
            ((label, score) for label, score in zip(about["suggested_label"], about["score"], strict=True) if isinstance(label, str)), None
        )
        action = decided.get(name)
        path = f"{root.rstrip('/')}/{name}"
        tasks.append(
            {
                "data": {
                    "image": path if "://" in root else f"/data/local-files/?d={quote(path.lstrip('/'))}",
                    "sample_id": name,
                    "given_label": _text(first["label"]),
                    "split": _text(first["split"]),
                    "messages": about["message"].tolist(),
                },
                "predictions": [{"model_version": "imagenet-audit", "score": float(suggested[1]), "result": [_choice(suggested[0])]}]
                if suggested
                else [],
                "annotations": [{"result": [_choice(action["label"])]}] if action and action["action"] == "relabel" else [],
                "meta": {"content_id": _text(first["content_id"]), "action": action["action"] if action else None},
            }
        )
    write_json_file(tasks, out)
    return {"tasks": len(tasks)}


def _choice(label: str) -> dict[str, Any]:
    return {"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": [label]}}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
