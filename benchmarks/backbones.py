"""Compare backbones on every field: label errors, pairs and outliers against cost.

    python benchmarks/backbones.py DATA VERDICTS --out RUNS [--backbone NAME ...]

DATA has one folder per field, as unpacked (``clothing``, ``signs``, ``xray``, ``cifar10``, ``tiny-imagenet-dev``, ``imagenet-photos-dev``);
VERDICTS has the tables of judgments. Each field is scanned with each backbone into RUNS, where finished scans are reused. Costs are CPU seconds of
the model on one thread, which other processes on the machine change little.

- Label errors: average precision on CIFAR-10N's aggregated labels; on clothing, among the judged labels, *wrong* against *right* (the pool was chosen
  with the embedded backbone, which favours it); on signs, the places of the two wrong labels in the list.
- Pairs: average precision of the scores among the judged pairs, *copy*, *same_scene* and *duplicate* against *different*; a pair that the run lacks
  scores 0.
- Outliers: average precision of finding two planted images of each other field, the mean of ten draws.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import average_precision_score

import audit
from audit.backbones import choose
from audit.backbones.runtime import place, prepare
from audit.checks.outliers import Options, kth_distance, robust_z
from audit.labels.quality import judge_labels
from audit.neighbors.search import search
from audit.pairs.duplicate_sets import connected_sets
from audit.predictions.out_of_sample import out_of_sample

FIELDS = {
    "photos": "imagenet-photos-dev",
    "xray": "xray",
    "signs": "signs",
    "clothing": "clothing",
    "tiny": "tiny-imagenet-dev",
    "cifar": "cifar10/cifar10-dev",
}
PLANTED, DRAWS = 2, 10
Embeddings = npt.NDArray[np.float16]

CHECKS = ("near_duplicates", "leakage", "outliers", "label_errors")


def scanned(data: Path, out: Path, backbone: str, field: str) -> audit.Run | None:
    folder, run = data / FIELDS[field], out / f"{backbone}-{field}"
    if (run / "run.json").is_file() and (found := audit.open_run(run)).record["finished"]:
        return found
    if not folder.is_dir():
        return None
    options = audit.ScanOptions(backbone=backbone, offline=True, device="cpu", only=CHECKS)
    return audit.scan(folder, run, options=options)


def rows_of(run: audit.Run) -> dict[str, int]:
    return {name: row for row, name in enumerate(run.columns("sample_id")["sample_id"])}


def label_scores(run: audit.Run, embeddings: Embeddings, rows: npt.NDArray[np.int64], given: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Score the given labels of some rows as a scan would."""
    pairs = run.pairs
    groups = connected_sets(pairs, len(run))[rows]
    found = out_of_sample(embeddings[rows], given.astype(np.int32), groups, seed=0)
    place_of = np.full(len(run), -1)
    place_of[rows] = np.arange(len(rows))
    inside = pairs[(place_of[pairs["i"]] >= 0) & (place_of[pairs["j"]] >= 0)]
    inside = inside.assign(i=place_of[inside["i"]], j=place_of[inside["j"]])
    return judge_labels(found.probabilities, given, inside)["score"].fillna(0).to_numpy(float)


def labels(run: audit.Run, embeddings: Embeddings, field: str, verdicts: Path) -> float | str:
    if field == "cifar":
        people = pd.read_csv(verdicts / "cifar10-human-labels-dev.csv")
        at = {int(Path(name).stem): row for name, row in rows_of(run).items() if name.startswith("train/")}
        rows = np.array([at[index] for index in people["index"]])
        classes = {name: code for code, name in enumerate(sorted(people["clean_label"].unique()))}
        given = people["aggre_label"].map(classes).to_numpy()
        return float(average_precision_score(people["aggre_label"] != people["clean_label"], label_scores(run, embeddings, rows, given)))
    if field not in ("clothing", "signs"):
        return ""
    names, codes = run.columns("sample_id", "label"), {name: code for code, name in enumerate(run.classes)}
    score = label_scores(run, embeddings, np.arange(len(run)), names["label"].map(codes).to_numpy())
    judged = pd.read_csv(verdicts / f"{field}-labels-dev.csv")
    row = judged["sample"].map(rows_of(run))
    wrong = (judged["verdict"] == "wrong").to_numpy()
    if field == "signs":
        places = np.argsort(np.argsort(-score, kind="stable"))[row[wrong].to_numpy(int)] + 1
        return ", ".join(str(at) for at in sorted(places))
    sure = judged["verdict"].isin(["wrong", "right"]).to_numpy()
    return float(average_precision_score(wrong[sure], score[row[sure].to_numpy(int)]))


def pairs(run: audit.Run, field: str, verdicts: Path) -> float | str:
    if field == "cifar":
        judged = pd.read_csv(verdicts / "cifar10-duplicates-dev.csv")
        at = {(Path(name).parts[0], int(Path(name).stem)): row for name, row in rows_of(run).items()}
        sides = [[at[part, index] for index in judged[f"{part}_index"]] for part in ("test", "train")]
    elif (verdicts / f"{field}-pairs-dev.csv").is_file():
        judged = pd.read_csv(verdicts / f"{field}-pairs-dev.csv")
        at = rows_of(run)
        sides = [[at[name] for name in judged[side]] for side in ("sample_i", "sample_j")]
    else:
        return ""
    known = {(min(i, j), max(i, j)): score for i, j, score in zip(run.pairs["i"], run.pairs["j"], run.pairs["score"], strict=True)}
    score = np.array([known.get((min(i, j), max(i, j)), 0.0) for i, j in zip(*sides, strict=True)])
    sure = (judged["verdict"] != "unsure").to_numpy()
    return float(average_precision_score((judged["verdict"] != "different").to_numpy()[sure], score[sure]))


def outliers(run: audit.Run, others: list[audit.Run]) -> float:
    """Return the average precision of finding images of other runs among those of this one."""
    found = []
    for draw in range(DRAWS):
        random = np.random.default_rng(draw)
        own, *foreign = (
            random.permutation(np.flatnonzero(np.isfinite(one.embeddings).all(1)))[:most]
            for one, most in [(run, 2_000), *((other, PLANTED) for other in others)]
        )
        together = np.concatenate([run.embeddings[own], *(other.embeddings[rows] for other, rows in zip(others, foreign, strict=True))])
        nearest = search(together, k=20, seed=0)
        distance, _ = kth_distance(nearest.indices, nearest.similarities, run.pairs.iloc[:0], Options().neighbor)
        found.append(average_precision_score(np.arange(len(together)) >= len(own), robust_z(distance, 0.02)[0]))
    return float(np.mean(found))


def seconds_per_thousand(name: str) -> float:
    """Return CPU seconds of the model for 1,000 images on one thread, the least of five measurements."""
    backbone = choose(name, offline=True).backbone
    embedder = prepare(backbone, place(device="cpu", precision="auto"), lambda _: None).open(1)
    side = backbone.preprocessing.input_size
    images = np.zeros((32, side, side, 3), np.uint8)
    embedder.embed(images)
    times = []
    for _ in range(5):
        began = time.process_time()
        embedder.embed(images)
        times.append((time.process_time() - began) / len(images) * 1000)
    return min(times)


def shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3f}"


def together(data: Path, out: Path, backbones: list[str], field: str, verdicts: Path) -> float | str:
    """Measure labels on the embeddings of several backbones, side by side."""
    runs = [run for backbone in backbones if (run := scanned(data, out, backbone, field)) is not None]
    return labels(runs[0], np.concatenate([run.embeddings for run in runs], axis=1), field, verdicts) if runs else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("verdicts", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--backbone", nargs="+", default=["embedded", "embedded-large"])
    parser.add_argument("--field", nargs="+", default=list(FIELDS))
    arguments = parser.parse_args()
    print("| backbone | CPU s / 1,000 images | measure |", " | ".join(arguments.field), "|")
    print("|---|---|---|" + "---|" * len(arguments.field))
    for backbone in arguments.backbone:
        runs = {field: run for field in arguments.field if (run := scanned(arguments.data, arguments.out, backbone, field)) is not None}
        rows = {
            "labels": [labels(run, run.embeddings, field, arguments.verdicts) for field, run in runs.items()],
            "pairs": [pairs(run, field, arguments.verdicts) for field, run in runs.items()],
            "outliers": [outliers(run, [other for other in runs.values() if other is not run]) for run in runs.values()],
        }
        cost = seconds_per_thousand(backbone)
        for measure, values in rows.items():
            print(f"| {backbone} | {cost:.1f} | {measure} |", " | ".join(map(shown, values)), "|", flush=True)
    if len(arguments.backbone) > 1:
        values = [together(arguments.data, arguments.out, arguments.backbone, field, arguments.verdicts) for field in arguments.field]
        print(f"| {', '.join(arguments.backbone)} | | labels |", " | ".join(map(shown, values)), "|")


if __name__ == "__main__":
    main()
