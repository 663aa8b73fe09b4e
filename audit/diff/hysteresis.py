"""Label reports near the threshold persist between two versions: refitted models move the probabilities of unchanged images."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from audit.errors import RunError
from audit.labels.hysteresis import bounds

if TYPE_CHECKING:
    from audit.run.run import Run

_CHECK = "label_errors"


def with_hysteresis(findings: pd.DataFrame, new: Run) -> pd.DataFrame:
    """Return findings of which those about unchanged images are new or fixed only if the probability of the new version is clear.

    Only the new version's probabilities are compared with the bounds: a report, as a baseline, has none below the threshold.

    Args:
        findings: columns ``check, state, cause, content_id, evidence`` of a comparison.
        new: the new version.
    """
    near = (findings["check"] == _CHECK) & (findings["cause"] == "context") & findings["content_id"].notna()
    if not near.any():
        return findings
    low, high = bounds(_threshold(new))
    fresh, gone = (np.flatnonzero(near & (findings["state"] == state)) for state in ("new", "fixed"))
    held = np.zeros(len(findings), bool)
    held[fresh] = [json.loads(evidence).get("probability_wrong", 1.0) < high for evidence in findings["evidence"].iloc[fresh]]
    held[gone] = _probabilities(new, findings["content_id"].iloc[gone]) >= low
    return findings.assign(state=findings["state"].mask(held, "persisting"), cause=findings["cause"].mask(held, None))


def _threshold(run: Run) -> float:
    from audit.checks.label_errors import Options

    given = run.record.get("options", {}).get("checks", {}).get(_CHECK, {})
    return float(given.get("min_probability", Options().min_probability))


def _probabilities(run: Run, content_ids: pd.Series[str]) -> npt.NDArray[np.float32]:
    """Return the probability that the label of each image is wrong, the highest of its copies; NaN without a prediction."""
    try:
        quality = run.label_quality["probability_wrong"]
    except RunError:
        return np.full(len(content_ids), np.nan, np.float32)
    of_image = quality.groupby(run.columns("content_id")["content_id"].astype(object).to_numpy()).max()
    return content_ids.map(of_image).to_numpy(np.float32)
