"""What a run holds of each published fact: a number, or the reason why it could not be checked."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from audit.answer_key import Fact
from audit.errors import SourceError

if TYPE_CHECKING:
    from audit.run import Run

_MAJORITY = 3
"""Of five people; a label for which fewer voted counts as wrong."""

EXACT = ("identical_bytes", "identical_pixels")
_VAL, _NUMBER = frozenset({"val", "validation", "valid", "test"}), re.compile(r"(\d+)$")


class Unknown(str):
    """Why a fact could not be checked."""

    __slots__ = ()


def compare(run: Run, facts: list[Fact], files: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Return, per fact, what is expected and what the run holds; ``not_checked`` says why where there is no number.

    Raises:
        SourceError: a label file cannot be read or is of another form.
    """
    numbers = _of_pairs(run)
    for key, read in (("duplicates", _listed_pairs), ("human", _human), ("mturk", _confirmed), ("real", _real)):
        if key in files:
            try:
                numbers |= read(run, files[key])
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise SourceError(files[key], f"is no public label file of the kind {key!r} ({error})", "see docs/verify.md for its form") from error
    rows = []
    for fact in facts:
        value = numbers.get(fact.key) if fact.needs in ("pairs", *files) else _of_check(run, fact)
        if value is None:
            value = Unknown(f"needs the public label file: --labels {fact.needs}=FILE")
        rows.append(
            {
                "what": fact.what,
                "expected": fact.expected,
                "found": None if isinstance(value, Unknown) else value,
                "not_checked": str(value) if isinstance(value, Unknown) else None,
                "source": fact.source,
            }
        )
    return rows


def _is_val(run: Run) -> Any:
    return run.samples["split"].isin(_VAL).to_numpy(bool)


def _of_pairs(run: Run) -> dict[str, Any]:
    """Count exact and near duplicates within and between the splits."""
    is_val, pairs = _is_val(run), run.pairs
    labels = run.samples["label"].to_numpy(object)
    both = is_val.any() and (~is_val).any()
    lacks = Unknown("the run has not both train and val images")
    exact = pairs[pairs["relation"].isin(EXACT)]
    members: dict[int, list[int]] = {}
    for i, j in zip(exact["i"].tolist(), exact["j"].tolist(), strict=True):  # every copy is paired with the first of its kind
        members.setdefault(i, [i]).append(j)
    groups = [np.array(rows) for rows in members.values()]
    crossing = [(rows[is_val[rows]], rows[~is_val[rows]]) for rows in groups if is_val[rows].any() and not is_val[rows].all()]
    other = sum(int(sum(labels[row] not in set(labels[train]) for row in val)) for val, train in crossing)
    near = pairs[~pairs["relation"].isin((*EXACT, "same_scene"))]
    i, j = near["i"].to_numpy(), near["j"].to_numpy()
    within, across = is_val[i] & is_val[j], is_val[i] != is_val[j]
    sides = np.concatenate([i[across], j[across]])
    val_counts = [int(is_val[rows].sum()) for rows in groups]
    return {
        "exact_val_train": sum(len(val) for val, _ in crossing) if both else lacks,
        "exact_val_train_other": other if both else lacks,
        "exact_val_val": sum(count * (count - 1) // 2 for count in val_counts) if is_val.any() else lacks,
        "exact_train": sum(int((~is_val[rows]).sum()) for rows in groups if (~is_val[rows]).sum() > 1) if (~is_val).any() else lacks,
        "near_val_groups": len(set(near["group"].to_numpy()[within & (near["group"].to_numpy() >= 0)].tolist())) if is_val.any() else lacks,
        "near_val_images": len(np.unique(np.concatenate([i[within], j[within]]))) if is_val.any() else lacks,
        "near_cross_val": len(np.unique(sides[is_val[sides]])) if both else lacks,
        "near_cross_train": len(np.unique(sides[~is_val[sides]])) if both else lacks,
    }


def _of_check(run: Run, fact: Fact) -> Any:
    """Return 1 where a check reports the class or the pair of classes, 0 where it ran and did not."""
    kind, _, names = fact.key.partition(":")
    state = run.record.get("checks", {}).get(fact.needs)
    if kind not in ("overlap", "class"):
        return None
    if state is None or state["state"] != "done":
        return Unknown(f"{fact.needs} did not run" if state is None else f"{fact.needs}: {state['reason']}")
    wanted = set(names.split(":")[0].split("+"))
    if not wanted <= set(run.samples["label"].dropna()):
        return Unknown("the run has no images of " + " or ".join(sorted(wanted)))
    findings = run.findings[run.findings["check"] == fact.needs]
    said = findings["label"].fillna("") + " " + findings["suggested_label"].fillna("") + " " + findings["evidence"]
    return int(any(all(name in text for name in wanted) for text in said))


def _numbers(run: Run, *, val: bool) -> dict[int, int]:
    """Return number in the original order -> row, from the file names of one side of the dataset."""
    chosen = np.flatnonzero(_is_val(run) == val)
    stems = [Path(name).stem for name in run.samples["sample_id"].to_numpy()[chosen]]
    found = ((_NUMBER.search(stem), row) for stem, row in zip(stems, chosen.tolist(), strict=True))
    return {int(match[1]): row for match, row in found if match}


def _rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _listed_pairs(run: Run, path: Path) -> dict[str, Any]:
    test, train = _numbers(run, val=True), _numbers(run, val=False)
    ours = {frozenset(pair) for pair in zip(run.pairs["i"].tolist(), run.pairs["j"].tolist(), strict=True)}
    wanted = [(int(row["test_index"]), int(row["train_index"])) for row in _rows_of(path) if row.get("verdict", "duplicate") == "duplicate"]
    here = [frozenset((test[one], train[other])) for one, other in wanted if one in test and other in train]
    return {"listed_pairs": f"{sum(pair in ours for pair in here)} of {len(here)} here ({len(wanted)} listed)"}


def _flagged(run: Run) -> set[str]:
    findings = run.findings
    return set(findings.loc[findings["check"] == "label_errors", "sample_id"].dropna())


def _human(run: Run, path: Path) -> dict[str, Any]:
    train, ids = _numbers(run, val=False), run.samples["sample_id"].to_numpy(object)
    rows = [row for row in _rows_of(path) if int(row["index"]) in train]
    if not rows:
        return {"human_disagree": Unknown("no image of the file is in the run"), "human_flagged": Unknown("no image of the file is in the run")}
    given = run.samples["label"].to_numpy(object)
    # The human labels of CIFAR-N are the noisy ones: where they differ from the published label, most often the person was wrong.
    differs = [train[int(row["index"])] for row in rows if row["aggre_label"] != given[train[int(row["index"])]]]
    flagged = _flagged(run)
    return {"human_disagree": round(len(differs) / len(rows), 4), "human_flagged": f"{sum(ids[row] in flagged for row in differs)} of {len(differs)}"}


def _confirmed(run: Run, path: Path) -> dict[str, Any]:
    test, ids, flagged = _numbers(run, val=True), run.samples["sample_id"].to_numpy(object), _flagged(run)
    entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.suffix == ".json" else list(_rows_of(path))
    wrong = []
    for entry in entries:
        votes = entry.get("mturk", entry)
        match = _NUMBER.search(Path(str(entry.get("id", entry.get("test_index", entry.get("index"))))).stem)
        if int(votes["given"]) < _MAJORITY and match:
            wrong.append(int(match[1]))
    here = [test[number] for number in wrong if number in test]
    return {"confirmed_errors": f"{sum(ids[row] in flagged for row in here)} reported of {len(here)} here ({len(wrong)} confirmed)"}


def _real(run: Run, path: Path) -> dict[str, Any]:
    sets: list[list[int]] = json.loads(path.read_text(encoding="utf-8"))
    val = {number - 1: row for number, row in _numbers(run, val=True).items() if number <= len(sets)}
    if not val:
        return dict.fromkeys(("real_none", "real_several", "real_rejected"), Unknown("the run has no val images named by number"))
    classes = sorted(pd.unique(run.samples["label"].dropna()))
    place, given = {name: at for at, name in enumerate(classes)}, run.samples["label"].to_numpy(object)
    rejected: Any = Unknown(f"the run has {len(classes)} of 1000 classes, so their numbers are not known")
    if len(classes) == 1000:
        rejected = sum(bool(sets[number]) and place.get(given[row]) not in sets[number] for number, row in val.items())
    return {
        "real_none": sum(not sets[number] for number in val),
        "real_several": sum(len(sets[number]) > 1 for number in val),
        "real_rejected": rejected,
    }
