"""Issues: findings that say the same thing count as one thing to look at.

Findings stay as the checks returned them, one per image, pair or class: policies, decisions, baselines and exports address them by their ids. An
issue is how they are reported. Findings become one issue if they are

- about one group of copies, whichever checks reported them;
- of one kind about one class, such as several properties that predict it;
- of one kind about more than `MOST_APART` images, classes or groups;
- about one image, and none of the above;
- about the whole dataset and from one check that has more than `MOST_APART` of those.
"""

from __future__ import annotations

import hashlib
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

MOST_APART = 3
"""Images, classes or groups with findings of one kind that are reported one by one."""

_ID_CHARACTERS = 16


def issue_ids(findings: pd.DataFrame, kinds: Mapping[str, Sequence[str]]) -> npt.NDArray[np.object_]:
    """Return the id of each finding's issue: the finding's own id if it is an issue by itself.

    The id of an issue with several findings depends on what they have in common, not on which they are, so that it stays the same when images are
    added or fixed.

    Args:
        findings: columns of ``audit.tables.FINDINGS`` without messages and evidence, worst first.
        kinds: check -> kinds that it declares; findings of one pattern, such as ``property_*``, are of one kind.
    """
    if not len(findings):
        return np.empty(0, object)
    columns = {name: findings[name].astype(object) for name in ("finding_id", "check", "kind", "subject", "group_id", "label")}
    own, check, subject, label = (columns[name] for name in ("finding_id", "check", "subject", "label"))
    topic, whole = _topics(check, columns["kind"], kinds)
    of_image = subject == "sample"
    unit = own.copy()
    grouped = (of_image & columns["group_id"].notna()).to_numpy(bool)
    unit[grouped] = "group " + columns["group_id"][grouped].astype(str)
    of_class = ((subject == "class") & label.notna()).to_numpy(bool)
    unit[of_class] = "class " + topic[of_class] + " " + label[of_class].astype(str)
    # A group that several checks report belongs to the check of its worst finding.
    topic = topic.groupby(unit, sort=False).transform("first")
    about_dataset = (subject == "dataset").to_numpy(bool)
    table = pd.DataFrame({"topic": topic, "unit": unit, "check": check, "dataset": about_dataset, "whole": whole, "label": label})
    by_topic = table.groupby("topic", sort=False)
    several = (by_topic["unit"].transform("nunique") > MOST_APART) | (
        whole & by_topic["dataset"].transform("any") & ~by_topic["dataset"].transform("all")
    )
    issue = unit.where(~several, "kind " + topic)
    labelled = by_topic["label"].transform("nunique")
    in_few_classes = several & of_image & ~grouped & label.notna() & (labelled <= MOST_APART) & (labelled > 1) & ~by_topic["dataset"].transform("any")
    issue[in_few_classes] = "kind " + topic[in_few_classes] + " in " + label[in_few_classes].astype(str)
    apart = of_image & ~grouped & ~several
    issue[apart] = "image " + findings["content_id"].astype(object).where(findings["content_id"].notna(), findings["sample_id"])[apart].astype(str)
    of_dataset = table.groupby(issue, sort=False)["dataset"].transform("any") & whole
    many = issue.where(of_dataset).groupby(check, sort=False).transform("nunique") > MOST_APART
    issue[of_dataset & many] = "check " + check[of_dataset & many].astype(str)
    alone = (issue.groupby(issue, sort=False).transform("size") == 1).to_numpy(bool)
    ids = {key: hashlib.sha256(f"issue {key}".encode()).hexdigest()[:_ID_CHARACTERS] for key in issue[~alone].unique()}
    return np.where(alone, own, issue.map(ids)).astype(object)


def _topics(check: pd.Series[str], kind: pd.Series[str], kinds: Mapping[str, Sequence[str]]) -> tuple[pd.Series[str], pd.Series[bool]]:
    """Return the declared kind of each finding, with its check, and whether it is a name and not a pattern."""
    pairs = pd.Series(list(zip(check, kind, strict=True)), check.index)
    known = {}
    for name, found in pairs.unique():
        pattern = next((declared for declared in kinds.get(name, ()) if fnmatchcase(found, declared)), found)
        known[name, found] = (f"{name} {pattern}", "*" not in pattern)
    return pairs.map({pair: topic for pair, (topic, _) in known.items()}), pairs.map({pair: named for pair, (_, named) in known.items()})


def issues(findings: pd.DataFrame) -> pd.DataFrame:
    """Return one row per issue, worst first: its worst finding, and how much it covers.

    Args:
        findings: rows of `audit.run.run.Run.findings_index`, worst first; a part of them gives the issues of that part.

    Returns:
        The columns of ``findings`` of the worst finding, ``findings`` (their number), and the numbers of distinct ``images``, ``classes`` (of
        findings about a class) and ``groups`` of all its findings.
    """
    first = findings.drop_duplicates("issue_id")
    number = {"findings": findings["issue_id"].value_counts()}
    for name, column, about in (("images", "sample_id", "sample"), ("classes", "label", "class"), ("groups", "group_id", "sample")):
        known = findings.loc[(findings["subject"] == about) & findings[column].notna(), ["issue_id", column]]
        number[name] = known.drop_duplicates()["issue_id"].value_counts()
    return first.assign(**{name: first["issue_id"].map(count).fillna(0).astype(np.int64) for name, count in number.items()})


def alike(findings: int, images: int, classes: int, groups: int) -> str:
    """Return how many subjects an issue has, to be written before the message of its worst finding; empty if that is its only one.

    >>> alike(64, 64, 0, 0), alike(11, 0, 1, 0), alike(9, 9, 0, 4), alike(1, 1, 0, 0)
    ('One of 64 images: ', 'First of 11 findings about this class: ', 'One of 9 images in 4 groups: ', '')
    """
    if findings == 1:
        return ""
    if images > 1:
        among = f" in {groups:,} groups" if groups > 1 else " of a group" if groups else ""
        return f"One of {images:,} images{among}: "
    if classes > 1:
        return f"One of {classes:,} classes: "
    about = " about this class" if classes else " about this image" if images else ""
    return f"First of {findings:,} findings{about}: "
