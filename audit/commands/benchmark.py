"""``imagenet-audit benchmark``: accuracy and ranking of models before and after a benchmark is cleaned."""

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
"""Default for ``--split``: the first of these that the dataset has, else all images."""

TITLES = {
    "as_is": "original",
    "corrected": "corrected",
    "without_leaks": "without leaks",
    "corrected_without_leaks": "corrected, without leaks",
}


@click.command()
@click.argument("run", type=PATH)
@click.option("--predictions", "files", multiple=True, required=True, metavar="FILE", help="Class probabilities of one model; repeat per model.")
@click.option("--split", metavar="NAME", help="Split used as the benchmark.  [default: test, else val, else all]")
@OUTPUT
def benchmark(run: Path, files: tuple[str, ...], split: str | None, *, as_json: bool, color: bool | None) -> None:
    """Score models before and after cleaning a benchmark.

    Reports accuracy on the original labels, on corrected labels, and without images leaked from other splits. Corrections are reviewers' decisions,
    or the suggested labels of images without a review. Prediction files are .npy, .parquet or .csv, with rows keyed by sample_id or in the order
    of the split or dataset.
    """
    from audit import open_run
    from audit.labels.benchmark_scores import corrections, ranking_changes, scores
    from audit.labels.quality import label_codes

    opened = open_run(run)
    rows, name = _split_rows(opened, split)
    predicted: dict[str, Any] = {}
    notes: list[str] = []
    for file in files:
        predicted[_model(file, files)] = _predicted(opened, rows, file, notes)
    given = label_codes(opened.samples["label"], opened.classes)[rows]
    findings, decided = _label_findings(opened, rows), _decided(opened, rows)
    corrected = corrections(given, findings, decided, opened.classes)
    leaked = _leaked(opened, rows, notes)
    table = scores(predicted, given, corrected, leaked)
    changes = ranking_changes(predicted, given, corrected, leaked)
    if any((codes < 0).any() for codes in predicted.values()):
        notes.append("images without a prediction from every model are excluded for all models")
    if corrected.suggested:
        notes.append(f"{counted(corrected.suggested, 'correction')} not reviewed yet; review them before you rely on the corrected scores")
    if as_json:
        facts: dict[str, int | None] = {"images": len(rows), "reviewed": corrected.reviewed, "suggested": corrected.suggested}
        facts["leaked"] = None if leaked is None else int(leaked.sum())
        columns = table.astype(object).where(table.notna(), None)
        print_json({"run": str(run), "split": name, **facts, "scores": columns.to_dict("records"), "ranking_changes": changes, "notes": notes})
        return
    summary = f"{counted(len(rows), 'image')}, {corrected.reviewed} corrected by reviewers, {corrected.suggested} corrected as suggested"
    summary += "" if leaked is None else f", {int(leaked.sum())} leaked"
    print_text(f"{safe(name) if name else 'all images'}: {summary}")
    _print_scores(table, list(predicted), color=wants_color(color=color))
    for change in changes:
        low, high = change["after_interval"]
        chance = "" if low > 0 else "; may be chance"
        print_text(
            f"{TITLES[change['variant']]}: {safe(change['ahead'])} leads {safe(change['behind'])} by {change['after']:.2%} "
            f"({low:+.2%} to {high:+.2%}); original: {change['before']:+.2%}{chance}"
        )
    if not changes and len(predicted) > 1:
        print_text("cleaning does not change the ranking of the models")
    for note in notes:
        say(f"note: {note}")


def _print_scores(table: pd.DataFrame, models: list[str], *, color: bool) -> None:
    """Print one block per model, which fits a narrow terminal."""
    for model in models:
        print_text()
        print_text(safe(model), bold=True, color=color)
        for one in table[table["model"] == model].to_dict("records"):
            accuracy = (
                "no images to score"
                if not one["images"]
                else f"{one['accuracy']:7.2%}  ({one['low']:.2%} to {one['high']:.2%}, {counted(one['images'], 'image')})"
            )
            print_text(f"  {TITLES[str(one['variant'])]:26}{accuracy}")
    print_text()


def _split_rows(run: Run, split: str | None) -> tuple[npt.NDArray[np.int64], str | None]:
    import numpy as np

    if not run.classes or run.samples["labels"].notna().any():
        problem = "has no labels" if not run.classes else "has several labels per image"
        raise AuditError(run.path, problem, "use a run with one label per image")
    found = run.samples["split"]
    known = sorted(found.dropna().unique())
    if split is not None and split not in known:
        raise ConfigError("--split", f"unknown split {split!r}", nearest(split, known) if known else "omit the option: the run has no splits")
    name = split or next((one for wanted in EVALUATION_SPLITS for one in known if one.lower() == wanted), None)
    return np.flatnonzero(found == name) if name is not None else np.arange(len(run)), name


def _model(file: str, files: tuple[str, ...]) -> str:
    """Return a model's name: the file's stem, or its whole path if another file has the same stem."""
    name = Path(file).stem
    return file if [Path(other).stem for other in files].count(name) > 1 else name


def _predicted(run: Run, rows: npt.NDArray[np.int64], file: str, notes: list[str]) -> npt.NDArray[np.int64]:
    """Return the most probable class of each row, -1 if it has no prediction."""
    import numpy as np

    from audit.predictions.user import load_predictions, row_count

    ids = run.samples["sample_id"].to_numpy(object)
    of_split = row_count(file) == len(rows)
    found = load_predictions(file, ids[rows].tolist() if of_split else ids.tolist(), run.classes)
    notes += [warning for warning in found.record["warnings"] if "have no prediction" not in warning]
    probabilities = found.probabilities if of_split else found.probabilities[rows]
    known = np.isfinite(probabilities[:, 0])
    if not known.any():
        raise AuditError(file, "has no predictions for the benchmark's images", "pass predictions for the split given by --split")
    codes = np.full(len(rows), -1, np.int64)
    codes[known] = probabilities[known].argmax(1)
    return codes


def _label_findings(run: Run, rows: npt.NDArray[np.int64]) -> pd.DataFrame:
    import pandas as pd

    found = run.findings[(run.findings["check"] == "label_errors") & (run.findings["subject"] == "sample")]
    row_of = pd.Series(range(len(rows)), index=run.samples["sample_id"].iloc[rows])
    at = found["sample_id"].map(row_of)
    return found.assign(row=at)[at.notna()]


def _decided(run: Run, rows: npt.NDArray[np.int64]) -> pd.DataFrame:
    """Return the reviewers' consensus about labels, by row of the benchmark."""
    import pandas as pd

    from audit.review.consensus import consensus
    from audit.review.decisions import Decisions

    current = Decisions(run.path).current()
    agreed = consensus(current[current["check"].isin(["label_errors", "conflicting_labels"])], run.samples)
    agreed = agreed[agreed["action"].isin(["relabel", "drop", "keep", "disputed"])]
    at = agreed["row"].map(pd.Series(range(len(rows)), index=rows))
    return agreed.assign(row=at)[at.notna()]


def _leaked(run: Run, rows: npt.NDArray[np.int64], notes: list[str]) -> npt.NDArray[np.bool_] | None:
    """Return which rows have a verified copy in another split; None if the leakage check did not run."""
    import json

    state = run.record.get("checks", {}).get("leakage", {"state": "skipped", "reason": "not selected for the scan"})
    if state["state"] != "done":
        notes.append(f"leaked images are unknown because the leakage check did not run: {state['reason']}")
        return None
    found = run.findings[(run.findings["check"] == "leakage") & (run.findings["kind"] != "same_scene")]
    copies = {*found["sample_id"], *(json.loads(evidence).get("partner") for evidence in found["evidence"])}
    return run.samples["sample_id"].iloc[rows].isin(copies).to_numpy(bool)
