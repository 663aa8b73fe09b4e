"""Match the findings of two versions of a dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd


def match_findings(old: pd.DataFrame, new: pd.DataFrame, classes: Mapping[str, str]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return which old and which new findings exist in both versions.

    Findings with the same id match. Ids contain the kind, so findings of one check about the same image also match if only the kind differs. Ids of
    findings about a class contain its name, so those also match if check, kind and (renamed) classes agree.

    Args:
        old: columns of ``audit.tables.FINDINGS``.
        new: same columns, of the new version.
        classes: old -> new name of each renamed class.
    """
    in_new = old["finding_id"].isin(new["finding_id"]).to_numpy(copy=True)
    in_old = new["finding_id"].isin(old["finding_id"]).to_numpy(copy=True)
    for of_images in (True, False):
        rest_old = np.flatnonzero(~in_new & ((old["subject"] == "sample").to_numpy() == of_images))
        rest_new = np.flatnonzero(~in_old & ((new["subject"] == "sample").to_numpy() == of_images))
        if len(rest_old) and len(rest_new):
            keys_old = _image_keys(old.iloc[rest_old]) if of_images else _class_keys(old.iloc[rest_old], classes)
            keys_new = _image_keys(new.iloc[rest_new]) if of_images else _class_keys(new.iloc[rest_new], {})
            in_new[rest_old], in_old[rest_new] = keys_old.isin(keys_new), keys_new.isin(keys_old)
    return in_new, in_old


def causes(findings: pd.DataFrame, samples: pd.DataFrame, side: str) -> npt.NDArray[Any]:
    """Return the change of each finding's image, else of the image it was verified against, else ``context``.

    Args:
        findings: columns of ``audit.tables.FINDINGS``.
        samples: as in `audit.diff.comparison.Difference.samples`.
        side: ``old_id`` or ``new_id``, the column with the names that the findings use.
    """
    change_of: dict[str, str] = {}
    for cause in ("moved", "relabelled", "changed", "added", "removed"):
        change_of |= dict.fromkeys(samples.loc[samples[cause].astype(bool) & samples[side].notna(), side], cause)
    found = np.full(len(findings), "context", object)
    for at, (name, evidence) in enumerate(zip(findings["sample_id"], findings["evidence"], strict=True)):
        found[at] = change_of.get(name) or change_of.get(json.loads(evidence).get("partner")) or "context"
    return found


def _image_keys(findings: pd.DataFrame) -> pd.MultiIndex:
    # A finding about a pair is identified by both images: another partner is another finding.
    paired = np.array(["partner" in json.loads(evidence) for evidence in findings["evidence"]], bool)
    subject = findings["content_id"].where(~paired, findings["finding_id"])
    return _numbered(pd.DataFrame({"check": findings["check"], "subject": subject}))


def _class_keys(findings: pd.DataFrame, classes: Mapping[str, str]) -> pd.MultiIndex:
    named = []
    for label, suggested, evidence in zip(findings["label"], findings["suggested_label"], findings["evidence"], strict=True):
        group = json.loads(evidence).get("classes")  # their order in a group depends on their names
        several = isinstance(group, list)
        names = [name for name in (group if several else (label, suggested)) if isinstance(name, str)]
        new_names = [classes.get(name, name) for name in names]
        named.append(json.dumps(sorted(new_names) if several else new_names))
    return _numbered(findings[["check", "kind"]].assign(names=named))


def _numbered(keys: pd.DataFrame) -> pd.MultiIndex:
    keys = keys.astype(object).fillna("").astype(str)
    return pd.MultiIndex.from_frame(keys.assign(ordinal=keys.groupby(list(keys.columns)).cumcount()))
