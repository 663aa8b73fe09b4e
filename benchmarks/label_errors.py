"""Evaluate label errors on people's judgments: CIFAR-10's human labels and the published suspects, compared with peers on the same embeddings.

    python benchmarks/label_errors.py RUN/embeddings.npy RUN/samples.parquet HUMAN_LABELS.csv [--pairs PAIRS.parquet] [--published FOLDER] [--memory]

The run is a scan of the train images with the embedded backbone; a file's stem is its ``index`` in the CSV. ``--half even|odd`` evaluates half of the
images. Datalab needs ``pip install 'cleanlab[datalab]'`` and is skipped otherwise.
"""

from __future__ import annotations

import argparse
import resource
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from audit.checks.label_errors import Options, verdict
from audit.labels.conflicts import disagreeing_duplicate_sets
from audit.labels.noise import estimate_noise, suspect
from audit.labels.quality import judge_labels
from audit.labels.review_yield import expected_yield
from audit.labels.statistics import confusion_matrix, overlapping
from audit.pairs.duplicate_sets import connected_sets
from audit.predictions.out_of_sample import out_of_sample

FOLDS = 5
Array = npt.NDArray[Any]


def ours(embeddings: Array, given: Array) -> tuple[Array, Array]:
    predictions = out_of_sample(embeddings, given.astype(np.int32), np.arange(len(given)), seed=0).probabilities
    found = suspect(predictions, given, estimate_noise(predictions, given))
    return found.score, found.probability


def cleanlab_logistic(embeddings: Array, given: Array) -> dict[str, Array]:
    from cleanlab.rank import get_label_quality_scores
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    # Shuffled: rows are ordered by the published label, so folds of consecutive rows would leak the truth.
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    predictions = cross_val_predict(LogisticRegression(max_iter=1000), embeddings.astype(np.float32), given, cv=folds, method="predict_proba")
    margin, confidence = (get_label_quality_scores(given, predictions, method=method) for method in ("normalized_margin", "self_confidence"))
    return {"normalised margin": 1 - margin, "self-confidence": 1 - confidence}


def datalab_features(embeddings: Array, given: Array) -> Array:
    from cleanlab import Datalab

    lab = Datalab({"y": given}, label_name="y", verbosity=0)
    lab.find_issues(features=embeddings.astype(np.float32), issue_types={"label": {}})
    return 1 - lab.get_issues("label")["label_score"].to_numpy()


def neighbors_of(embeddings: Array, k: int = 10) -> Array:
    import faiss

    rows = np.ascontiguousarray(embeddings, dtype=np.float32)
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    return index.search(rows, k + 1)[1][:, 1:]


def fastdup_rule(neighbors: Array, given: Array) -> Array:
    """Return the share of the nearest neighbors with another label."""
    return (given[neighbors] != given[:, None]).mean(1)


def selfclean_rule(embeddings: Array, given: Array) -> Array:
    """Compare the distance to the nearest image of the same class with that of another class (Groeger et al. 2023)."""
    rows = embeddings.astype(np.float32)
    score = np.empty(len(rows))
    for start in range(0, len(rows), 2000):
        distance = 1 - rows[start : start + 2000] @ rows.T
        distance[np.arange(len(distance)), np.arange(start, start + len(distance))] = np.inf
        same = given[start : start + 2000, None] == given[None]
        intra, extra = np.where(same, distance, np.inf).min(1), np.where(same, np.inf, distance).min(1)
        score[start : start + 2000] = intra**2 / (intra**2 + extra**2 + 1e-12)
    return score


def ceiling(embeddings: Array, given: Array, true: Array) -> Array:
    """Score with the same models fitted on the true labels: the upper limit of learning from wrong ones."""
    predictions = out_of_sample(embeddings, true.astype(np.int32), np.arange(len(given)), seed=0).probabilities
    return suspect(predictions, given, estimate_noise(predictions, given)).score


def yields(score: Array, probability: Array, wrong: Array) -> None:
    """Print the expected and the true precision at some depths of the list, before and after the first 200 are reviewed."""
    order = np.argsort(-score, kind="stable")
    reviewed = np.full(len(score), np.nan)
    reviewed[order[:200]] = wrong[order[:200]]
    depths = np.array([250, 500, 1000, 2000, 4000, 8000])
    real = np.cumsum(wrong[order])[depths - 1] / depths
    before, after = expected_yield(score, probability, depths), expected_yield(score, probability, depths, outcome=reviewed)
    print("\n| reviewed | wrong among them | expected | after 200 decisions |\n|---|---|---|---|")
    for at, depth in enumerate(depths):
        expected = [f"{found.precision[at]:.3f} ({found.low[at]:.3f} to {found.high[at]:.3f})" for found in (before, after)]
        print(f"| {depth} | {real[at]:.3f} | {expected[0]} | {expected[1]} |")


def expected_calibration_error(probability: Array, happened: Array, *, bins: int = 15) -> float:
    """Return the mean gap between stated probability and observed frequency over equally filled bins (Naeini et al. 2015), 0..1.

    Args:
        probability: ``[n]`` stated probabilities, in [0, 1].
        happened: ``[n]`` outcomes.
        bins: number of bins.
    """
    if not len(probability):
        return 0.0
    order = np.argsort(probability, kind="stable")
    gaps = [len(part) * abs(float(probability[part].mean()) - float(happened[part].mean())) for part in np.array_split(order, min(bins, len(order)))]
    return sum(gaps) / len(order)


def row(name: str, score: Array, wrong: Array, seconds: float, probability: Array | None = None) -> float:
    from sklearn.metrics import average_precision_score

    order = np.argsort(-score, kind="stable")
    at = [wrong[order[: round(len(order) * share)]].mean() for share in (0.01, 0.05)]
    error = "" if probability is None else f"{expected_calibration_error(probability, wrong):.3f}"
    average = average_precision_score(wrong, score)
    print(f"| {name:38} | {average:.3f} | {at[0]:.3f} | {at[1]:.3f} | {error:5} | {seconds:6.1f} |", flush=True)
    return average


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    began = time.perf_counter()
    found = function(*arguments)
    return found, time.perf_counter() - began


def compare(embeddings: Array, given: Array, true: Array, kept: Array, title: str) -> None:
    wrong = (given != true)[kept]
    print(f"\n{title}: {len(wrong)} images, {wrong.mean():.1%} wrong\n")
    print("| method | AP | precision at 1% | at 5% | ECE | seconds |\n|---|---|---|---|---|---|")
    (score, probability), seconds = timed(ours, embeddings, given)
    mine = row("imagenet-audit", score[kept], wrong, seconds, probability[kept])
    found, peer_seconds = timed(cleanlab_logistic, embeddings, given)
    best = max(row(f"cleanlab, logistic regression, {name}", peer[kept], wrong, peer_seconds) for name, peer in found.items())
    try:
        found, took = timed(datalab_features, embeddings, given)
        best = max(best, row("cleanlab Datalab, features", found[kept], wrong, took))
    except ImportError as error:
        print(f"(Datalab skipped: {error})")
    near, took = timed(neighbors_of, embeddings)
    best = max(best, row("neighbor vote (fastdup's rule)", fastdup_rule(near, given)[kept], wrong, took))
    found, took = timed(selfclean_rule, embeddings, given)
    best = max(best, row("nearest same / other (SelfClean's rule)", found[kept], wrong, took))
    top = row("(ours, fitted on the true labels)", ceiling(embeddings, given, true)[kept], wrong, float("nan"))
    print(f"\nThe same models fitted on the true labels: {top / best:.3f} x the best peer.")
    yields(score[kept], probability[kept], wrong)
    print(f"\nAP {mine / best:.3f} x the best peer, in {seconds / peer_seconds:.2f} x the time of the logistic regression.")


def copies(embeddings: Array, given: Array, true: Array, pairs: pd.DataFrame, title: str) -> None:
    """Judge copies with different labels alone, and with the votes of all copies."""
    from sklearn.metrics import log_loss

    predictions = out_of_sample(embeddings, given.astype(np.int32), connected_sets(pairs, len(given)), seed=0).probabilities
    rows = np.concatenate([parts[-1].rows for parts in disagreeing_duplicate_sets(pairs, given)])
    wrong = (given != true)[rows]
    print(f"\n{title}: {len(rows)} copies with different labels, {wrong.sum()} wrong\n")
    print("| judged | reported | wrong among them | log loss |\n|---|---|---|---|")
    for name, some in (("each alone", None), ("with all copies", pairs)):
        probability = judge_labels(predictions, given, some)["probability_wrong"].to_numpy()[rows]
        reported = probability >= Options().min_probability
        print(f"| {name} | {reported.sum()} | {wrong[reported].sum()} | {log_loss(wrong, np.clip(probability, 1e-4, 1 - 1e-4)):.3f} |")


def published(folder: Path) -> None:
    predictions, labels = np.load(folder / "pred_probs.npy").astype(np.float32), np.load(folder / "labels.npy").astype(np.int64)
    votes = pd.read_csv(folder / "human_votes.csv")
    confirmed = votes.loc[votes["given"] < 3, "index"].to_numpy()
    score = suspect(predictions, labels, estimate_noise(predictions, labels)).score
    first = np.argsort(-score, kind="stable")[:275]
    print(f"\npublished CIFAR-10 probabilities: {np.isin(confirmed, first).sum()} of {len(confirmed)} confirmed errors within the top 275.")
    verdicts(predictions, labels, votes[votes["given"] < 3])


def verdicts(predictions: Array, labels: Array, votes: pd.DataFrame) -> None:
    """Compare our verdicts on confirmed errors with the majority of five people; `also_valid` and `overlapping_classes` both mean both classes."""
    overlaps = overlapping(confusion_matrix(labels, predictions.argmax(1), predictions.shape[1]), Options().confusable)
    found = suspect(predictions, labels, estimate_noise(predictions, labels))
    table = pd.DataFrame({"people": votes[["guessed", "both", "neither"]].idxmax(axis=1), "ours": ""})
    for at, index in zip(table.index, votes["index"], strict=True):
        mine, other = labels[index], found.other[index]
        own, best = float(predictions[index, mine]), float(predictions[index, other])
        table.loc[at, "ours"] = verdict(own, best, overlap=bool(overlaps[mine, other]), copy_agrees=False, options=Options())
    print("\nverdicts on the confirmed errors, people (rows) and ours:\n")
    print(pd.crosstab(table["people"], table["ours"]).to_string())


def memory(rows: int = 1_281_167, classes: int = 1000) -> None:
    """Rank synthetic predictions of ImageNet's size, generated block by block."""
    draw = np.random.default_rng(0)
    given = draw.integers(0, classes, rows)
    predictions = np.empty((rows, classes), np.float32)
    for start in range(0, rows, 50_000):
        block = predictions[start : start + 50_000]
        draw.random(out=block, dtype=np.float32)
        block[np.arange(len(block)), given[start : start + 50_000]] += 300
        block /= block.sum(1, keepdims=True)
    _, seconds = timed(lambda: suspect(predictions, given, estimate_noise(predictions, given)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    table = predictions.nbytes / 2**30
    print(f"\n{rows} x {classes} predictions ranked in {seconds:.0f} s, peak memory {peak:.1f} GiB (the table itself: {table:.1f} GiB).")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("embeddings", type=Path, nargs="?")
    parser.add_argument("samples", type=Path, nargs="?")
    parser.add_argument("labels", type=Path, nargs="?")
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--published", type=Path)
    parser.add_argument("--half", choices=["even", "odd"])
    parser.add_argument("--memory", action="store_true")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    if asked.embeddings:
        human = pd.read_csv(asked.labels).set_index("index")
        ids = pd.read_parquet(asked.samples, columns=["sample_id"])["sample_id"]
        kept_rows = np.flatnonzero(~ids.str.startswith("test/").to_numpy(bool))
        index = ids.iloc[kept_rows].str.rsplit("/", n=1).str[-1].str.split(".").str[0].astype(int).to_numpy()
        embeddings = np.load(asked.embeddings, mmap_mode="r")[kept_rows]
        names = sorted(human["clean_label"].unique())
        codes = {name: human.loc[index, name].map({label: code for code, label in enumerate(names)}).to_numpy() for name in human.columns}
        part = {None: np.ones(len(index), bool), "even": index % 2 == 0, "odd": index % 2 == 1}[asked.half]
        for name in ("aggre_label", "random_label1"):
            compare(embeddings, codes[name], codes["clean_label"], part, name)
        if asked.pairs:
            place = np.full(len(ids), -1)
            place[kept_rows] = np.arange(len(kept_rows))
            pairs = pd.read_parquet(asked.pairs)
            pairs = pairs.assign(i=place[pairs["i"]], j=place[pairs["j"]]).query("i >= 0 and j >= 0")
            for name in ("aggre_label", "random_label1"):
                copies(embeddings, codes[name], codes["clean_label"], pairs, name)
    if asked.published:
        published(asked.published)
    if asked.memory:
        memory()


if __name__ == "__main__":
    main()
