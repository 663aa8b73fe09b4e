"""``imagenet-audit benchmark``: what cleaning a benchmark does to the accuracy and the order of models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audit.commands.base import OUTPUT, PATH, print_json, print_text, say, wants_color
from audit.errors import AuditError, ConfigError, nearest
from audit.io.console import counted, safe

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from audit import Run

EVALUATION_SPLITS = ("test", "val", "valid", "validation", "dev")
"""Where no split is named, the first of these that the dataset has is the benchmark, else all of its images."""

TITLES = {
    "as_is": "as they are",
    "corrected": "corrected",
    "without_leaks": "without leaked",
    "corrected_without_leaks": "corrected, without leaked",
}


@click.command()
@click.argument("run", type=PATH)
@click.option("--predictions", "files", multiple=True, required=True, metavar="FILE", help="A model's class probabilities; once for each model.")
@click.option("--split", metavar="NAME", help="The split that is the benchmark.  [default: test, else val, else all]")
@OUTPUT
def benchmark(run: Path, files: tuple[str, ...], split: str | None, *, as_json: bool, color: bool | None) -> None:
    """Score models on a benchmark as it is, with its labels corrected, and without images that leaked.

    Labels are corrected by what reviewers decided, and as suggested where nobody has decided yet. Predictions are .npy, .parquet or .csv: rows by
    sample_id, or in the order of the split or of the whole dataset.
    """
    from audit import open_run
    from audit.labels.benchmark_scores import corrections, ranking_changes, scores

    opened = open_run(run)
    rows, name = _split_rows(opened, split)
    predicted: dict[str, Any] = {}
    notes: list[str] = []
    for file in files:
        predicted[_model(file, files)] = _predicted(opened, rows, file, notes)
    given = _codes(opened)[rows]
    findings, decided = _label_findings(opened, rows), _decided(opened, rows)
    corrected = corrections(given, findings, decided, opened.classes)
    leaked = _leaked(opened, rows, notes)
    table = scores(predicted, given, corrected, leaked)
    changes = ranking_changes(predicted, given, corrected, leaked)
    silent = sum(bool((codes < 0).any()) for codes in predicted.values())
    if silent:
        notes.append("images that a model has no prediction for count for no model")
    if corrected.suggested:
        notes.append(
            f"corrected as suggested, not by people: {counted(corrected.suggested, 'label')}; review them before you rely on the corrected scores"
        )
    if as_json:
        facts: dict[str, int | None] = {"images": len(rows), "reviewed": corrected.reviewed, "suggested": corrected.suggested}
        facts["leaked"] = None if leaked is None else int(leaked.sum())
        columns = table.astype(object).where(table.notna(), None)
        print_json({"run": str(run), "split": name, **facts, "scores": columns.to_dict("records"), "ranking_changes": changes, "notes": notes})
        return
    told = f"{counted(len(rows), 'image')}, {corrected.reviewed} corrected by reviewers, {corrected.suggested} as suggested"
    told += "" if leaked is None else f", {int(leaked.sum())} leaked"
    print_text(f"{safe(name) if name else 'all images'}: {told}")
    _print_scores(table, list(predicted), color=wants_color(color=color))
    for change in changes:
        low, high = change["after_interval"]
        sure = "" if low > 0 else "; this may be chance"
        print_text(
            f"{safe(change['ahead'])} is ahead of {safe(change['behind'])} on {TITLES[change['variant']]} by {change['after']:.2%} "
            f"({low:+.2%} to {high:+.2%}), as they are by {change['before']:+.2%}{sure}"
        )
    if not changes and len(predicted) > 1:
        print_text("cleaning does not change the order of the models")
    for note in notes:
        say(f"note: {note}")


def _print_scores(table: pd.DataFrame, models: list[str], *, color: bool) -> None:
    """One block per model, so that a narrow terminal holds it."""
    for model in models:
        print_text()
        print_text(safe(model), bold=True, color=color)
        for one in table[table["model"] == model].to_dict("records"):
            accuracy = (
                "nothing to score"
                if not one["images"]
                else f"{one['accuracy']:7.2%}  ({one['low']:.2%} to {one['high']:.2%}, {counted(one['images'], 'image')})"
            )
            print_text(f"  {TITLES[str(one['variant'])]:26}{accuracy}")
    print_text()


def _split_rows(run: Run, split: str | None) -> tuple[npt.NDArray[np.int64], str | None]:
    import numpy as np

    if not run.classes or run.samples["labels"].notna().any():
        problem = "has no labels" if not run.classes else "has several labels per image"
        raise AuditError(run.path, problem, "a benchmark needs one label per image")
    found = run.samples["split"]
    known = sorted(found.dropna().unique())
    if split is not None and split not in known:
        raise ConfigError("--split", f"the run has no split {split!r}", nearest(split, known) if known else "leave the option out: it has no splits")
    name = split or next((one for wanted in EVALUATION_SPLITS for one in known if one.lower() == wanted), None)
    return np.flatnonzero(found == name) if name is not None else np.arange(len(run)), name


def _codes(run: Run) -> npt.NDArray[np.int64]:
    from audit.labels.quality import label_codes

    return label_codes(run.samples["label"], run.classes)


def _model(file: str, files: tuple[str, ...]) -> str:
    """A file's name without its ending; the whole path where two are alike."""
    name = Path(file).stem
    return file if [Path(other).stem for other in files].count(name) > 1 else name


def _predicted(run: Run, rows: npt.NDArray[np.int64], file: str, notes: list[str]) -> npt.NDArray[np.int64]:
    """Return each row's most probable class, -1 where there is no prediction."""
    import numpy as np

    from audit.predictions.user import load_predictions, row_count

    ids = run.samples["sample_id"].to_numpy(object)
    of_split = row_count(file) == len(rows)
    found = load_predictions(file, ids[rows].tolist() if of_split else ids.tolist(), run.classes)
    notes += [warning for warning in found.record["warnings"] if "have no prediction" not in warning]
    probabilities = found.probabilities if of_split else found.probabilities[rows]
    known = np.isfinite(probabilities[:, 0])
    if not known.any():
        raise AuditError(file, "has no prediction for any image of the benchmark", "pass predictions for the split that --split names")
    codes = np.full(len(rows), -1, np.int64)
    codes[known] = probabilities[known].argmax(1)
    return codes


def _label_findings(run: Run, rows: npt.NDArray[np.int64]) -> pd.DataFrame:
    import pandas as pd

    found = run.findings[(run.findings["check"] == "label_errors") & (run.findings["subject"] == "sample")]
    place = pd.Series(range(len(rows)), index=run.samples["sample_id"].iloc[rows])
    at = found["sample_id"].map(place)
    return found.assign(row=at)[at.notna()]


def _decided(run: Run, rows: npt.NDArray[np.int64]) -> pd.DataFrame:
    """Return what reviewers settled about labels, by row of the benchmark."""
    import pandas as pd

    from audit.review.consensus import settle
    from audit.review.decisions import Decisions

    current = Decisions(run.path).current()
    settled = settle(current[current["check"].isin(["label_errors", "conflicting_labels"])], run.samples)
    settled = settled[settled["action"].isin(["relabel", "drop", "keep", "disputed"])]
    at = settled["row"].map(pd.Series(range(len(rows)), index=rows))
    return settled.assign(row=at)[at.notna()]


def _leaked(run: Run, rows: npt.NDArray[np.int64], notes: list[str]) -> npt.NDArray[np.bool_] | None:
    """Which rows have a verified copy in another split; None where the run does not say."""
    import json

    state = run.record.get("checks", {}).get("leakage", {"state": "skipped", "reason": "it was not asked for"})
    if state["state"] != "done":
        notes.append(f"leaked images are not known: {state['reason']}")
        return None
    found = run.findings[(run.findings["check"] == "leakage") & (run.findings["kind"] != "same_scene")]
    copies = {*found["sample_id"], *(json.loads(evidence).get("partner") for evidence in found["evidence"])}
    return run.samples["sample_id"].iloc[rows].isin(copies).to_numpy(bool)
