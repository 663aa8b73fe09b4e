"""Compute each published fact from a run: a number, or the reason why it could not be checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from audit.errors import ConfigError, SourceError
from audit.io.console import counted
from audit.pairs.duplicate_sets import implied_by_identical_copies
from audit.verify.datasets import Dataset, find_dataset
from audit.verify.facts import Fact, published_facts
from audit.verify.images import Images, Unknown, images_of, require_fit, rows_by_number
from audit.verify.label_files import human_labels, label_sets, listed_pairs, votes

if TYPE_CHECKING:
    from audit.run.run import Run

EXACT = ("identical_bytes", "identical_pixels")

_SAME_LABELS = 0.9
"""Share of a label file's images whose label must match the file's copy of the dataset's labels; some may have been corrected since."""

_HALF = 0.5
"""The same for files of suspects, which may have been corrected, of people's labels, of which 9% and 40% differ, and of ReaL's, of which 10% do. In
another order, one label in ten, a hundred or a thousand matches by chance."""


def compare(run: Run, name: str, files: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Return the expected and the found value of each fact; ``not_checked`` is the reason if there is no value.

    Args:
        run: a finished run.
        name: its dataset, one of `audit.verify.facts.DATASETS`.
        files: key of a public label file -> the user's copy.

    Raises:
        ConfigError: unknown dataset, or a file that none of its facts needs.
        SourceError: a label file cannot be read or has another format.
    """
    facts, dataset = published_facts(name), find_dataset(name)
    wanted = sorted(_READERS.keys() & {fact.needs for fact in facts})
    for key in files:
        if key not in wanted:
            raise ConfigError("--labels", f"no published fact about {name} needs {key!r}", f"remove it; {name} uses: {', '.join(wanted)}")
    images = images_of(run, dataset)
    mismatch = _no_class(images, name)
    numbers = _of_pairs(run.pairs, images)
    for key, path in files.items():
        read, keys = _READERS[key]
        try:
            numbers |= read(run, images, dataset, path)
        except Unknown as why:
            numbers |= dict.fromkeys(keys, why)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise SourceError(path, f"not a valid label file of kind {key!r} ({error})", "use the file as published, see docs/verify.md") from error
    rows = []
    for fact in facts:
        if mismatch is not None:
            value: Any = mismatch
        elif ":" in fact.key:
            value = _of_check(run, images, dataset, fact)
        else:
            value = numbers.get(fact.key, Unknown(f"needs a public label file: --labels {fact.needs}=FILE"))
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


def _no_class(images: Images, name: str) -> Unknown | None:
    """Return why the run cannot be of the dataset: it has labels, none of them is a class, and they are not class numbers."""
    labels = {given for given in images.labels if given is not None}
    if labels and all(own is None for own in images.classes) and not all(label.isdecimal() for label in labels):
        return Unknown(f"no class of the run is a class of {name}")
    return None


def _of_pairs(pairs: pd.DataFrame, images: Images) -> dict[str, Any]:
    """Count exact and near duplicates within and between the two sides."""
    held_out, train, labels = images.held_out, images.train, images.labels
    lacks = Unknown("needs both train and val images")
    both = held_out.any() and train.any()
    exact = pairs[pairs["relation"].isin(EXACT)]
    members: dict[int, list[int]] = {}
    for i, j in zip(exact["i"].tolist(), exact["j"].tolist(), strict=True):  # every copy is paired with the first of its set
        members.setdefault(i, [i]).append(j)
    sides = [(np.array(rows)[held_out[rows]], np.array(rows)[train[rows]]) for rows in members.values()]
    crossing = [(one, other) for one, other in sides if len(one) and len(other)]
    elsewhere = sum(int(sum(labels[row] not in set(labels[other]) for row in one)) for one, other in crossing)
    sides_of = np.where(held_out, 1, np.where(train, 0, -1))
    # The search compares only one image of each identical set.
    every = pd.concat([pairs, implied_by_identical_copies(pairs, sides_of, np.arange(len(held_out)))])
    near = every[~every["relation"].isin(EXACT)]  # including other shots of a scene, which the paper calls similar views
    i, j, group = (near[name].to_numpy() for name in ("i", "j", "group"))
    within = held_out[i] & held_out[j]
    across = np.concatenate([np.stack([i, j], 1)[held_out[i] & train[j]], np.stack([j, i], 1)[train[i] & held_out[j]]])
    return {
        "exact_val_train": sum(len(one) for one, _ in crossing) if both else lacks,
        "exact_val_train_other": elsewhere if both else lacks,
        "exact_val_val": sum(len(one) * (len(one) - 1) // 2 for one, _ in sides) if held_out.any() else lacks,
        "exact_train": sum(len(other) for _, other in sides if len(other) > 1) if train.any() else lacks,
        "near_val_groups": len(np.unique(group[within & (group >= 0)])) if held_out.any() else lacks,
        "near_val_images": len(np.unique([i[within], j[within]])) if held_out.any() else lacks,
        "near_cross_val": len(np.unique(across[:, 0])) if both else lacks,
        "near_cross_train": len(np.unique(across[:, 1])) if both else lacks,
    }


def _of_check(run: Run, images: Images, dataset: Dataset, fact: Fact) -> Any:
    """Return 1 if a check reports the class or the pair of classes, 0 if it ran and did not."""
    kind, _, rest = fact.key.partition(":")
    wanted = set(rest.partition(":")[0].split("+"))
    why = _did_not_run(run, fact.needs)
    if why is not None:
        return why
    if not wanted <= {*images.classes}:
        return Unknown("the run has no images of " + " or ".join(sorted(wanted)))
    findings = run.findings_page({"check": fact.needs}).rows
    reports = _reports_pair if kind == "overlap" else _reports_class
    return int(reports(findings, wanted, dataset))


def _reports_class(findings: pd.DataFrame, wanted: set[str], dataset: Dataset) -> bool:
    """Return whether a finding is about the class; examples of other findings do not count."""
    return any(dataset.class_of(label) in wanted for label in findings["label"])


def _reports_pair(findings: pd.DataFrame, wanted: set[str], dataset: Dataset) -> bool:
    """Return whether one finding names both classes together as confused."""
    for label, suggestion, text in zip(findings["label"], findings["suggested_label"], findings["evidence"], strict=True):
        evidence = json.loads(text)
        together = [[label, suggestion], evidence.get("classes", []), *(pair["classes"] for pair in evidence.get("overlapping_pairs", []))]
        if any(wanted <= {dataset.class_of(name) for name in names} for names in together):
            return True
    return False


def _did_not_run(run: Run, check: str) -> Unknown | None:
    state = run.record.get("checks", {}).get(check)
    if state is None:
        return Unknown(f"{check} did not run")
    return None if state["state"] == "done" else Unknown(f"{check}: {state['reason']}")


def _flagged(run: Run) -> set[str]:
    findings = run.findings_index
    return set(findings.loc[findings["check"] == "label_errors", "sample_id"].dropna())


def _require_valid(numbers: Sequence[int], known: range, side: str) -> None:
    """Raise Unknown if numbers of a file are outside the dataset's range, as in a file of another order."""
    wrong = [number for number in numbers if number not in known]
    if wrong:
        found = f"{len(wrong):,} of the file's {counted(len(numbers), 'image')} have numbers that are not valid for {side} images (first: {wrong[0]})"
        raise Unknown(f"{found}; valid numbers are {known[0]} to {known[-1]}")


def _require_some(present: Sequence[object], listed: Sequence[object]) -> None:
    if not present:
        raise Unknown("no image of the file is in the run" if listed else "the file is empty")


def _listed_pairs(run: Run, images: Images, dataset: Dataset, path: Path) -> dict[str, Any]:
    wanted = listed_pairs(path)
    test, train = rows_by_number(images, dataset, held_out=True), rows_by_number(images, dataset, held_out=False)
    _require_valid([one for one, _ in wanted], dataset.held_out_numbers, "held-out")
    _require_valid([other for _, other in wanted], dataset.train_numbers, "train")
    present = [(test[one], train[other]) for one, other in wanted if one in test and other in train]
    _require_some(present, wanted)
    require_fit([row for row, _ in present], [images.classes[row] for _, row in present], images, _HALF)
    ours = {frozenset(pair) for pair in zip(run.pairs["i"].tolist(), run.pairs["j"].tolist(), strict=True)}
    return {"listed_pairs": f"{sum(frozenset(pair) in ours for pair in present)} of {len(present)} in the run ({len(wanted)} listed)"}


def _human(run: Run, images: Images, dataset: Dataset, path: Path) -> dict[str, Any]:
    listed = human_labels(path, dataset)
    train = rows_by_number(images, dataset, held_out=False)
    _require_valid([one.number for one in listed], dataset.train_numbers, "train")
    present = [(train[one.number], one) for one in listed if one.number in train]
    _require_some(present, listed)
    rows, people = [row for row, _ in present], [one.people for _, one in present]
    require_fit(rows, [one.own for _, one in present], images, _SAME_LABELS)
    require_fit(rows, people, images, _HALF)
    differs = [row for row, name in zip(rows, people, strict=True) if name != images.classes[row]]
    flagged = _flagged(run)
    reported = f"{sum(images.ids[row] in flagged for row in differs)} of {len(differs)}"
    return {"human_disagree": round(len(differs) / len(present), 4), "human_flagged": _did_not_run(run, "label_errors") or reported}


def _confirmed(run: Run, images: Images, dataset: Dataset, path: Path) -> dict[str, Any]:
    listed = votes(path, dataset)
    held_out = rows_by_number(images, dataset, held_out=True)
    _require_valid([one.number for one in listed], dataset.held_out_numbers, "held-out")
    present = [(held_out[one.number], one) for one in listed if one.number in held_out]
    _require_some(present, listed)
    require_fit([row for row, _ in present], [one.own for _, one in present], images, _HALF)
    wrong, flagged = [row for row, one in present if one.wrong], _flagged(run)
    found = sum(images.ids[row] in flagged for row in wrong)
    reported = f"{found} of {len(wrong)} in the run reported ({sum(one.wrong for one in listed)} confirmed)"
    return {"confirmed_errors": _did_not_run(run, "label_errors") or reported}


def _real(_run: Run, images: Images, dataset: Dataset, path: Path) -> dict[str, Any]:
    sets = label_sets(path, dataset)
    val = rows_by_number(images, dataset, held_out=True)
    place = {name: at for at, name in enumerate(dataset.classes)}
    present = [(row, place.get(images.classes[row]), sets[number - dataset.held_out_numbers[0]]) for number, row in val.items()]
    judged = [(row, own, valid) for row, own, valid in present if own is not None and valid]
    file_labels: list[str | None] = [dataset.classes[own if own in valid else min(valid)] for _, own, valid in judged]
    require_fit([row for row, *_ in judged], file_labels, images, _HALF)
    labelled = any(own is not None for _, own, _ in present)
    return {
        "real_none": sum(not valid for *_, valid in present),
        "real_several": sum(len(valid) > 1 for *_, valid in present),
        "real_rejected": sum(own not in valid for _, own, valid in judged) if labelled else Unknown("the run's val images have no labels"),
    }


_READERS = {
    "duplicates": (_listed_pairs, ("listed_pairs",)),
    "human": (_human, ("human_disagree", "human_flagged")),
    "mturk": (_confirmed, ("confirmed_errors",)),
    "real": (_real, ("real_none", "real_several", "real_rejected")),
}
"""Key of a label file -> its reader, and the facts that it yields."""
