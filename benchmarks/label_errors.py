"""Evaluate label errors on all sets of labels whose truth is known, in one run, beside cleanlab's scores on the same probabilities.

    python benchmarks/label_errors.py DATA RUNS [--only SECTION ...] [--seeds 5] [--cache FOLDER] [--memory]

DATA has label-arrays-dev/*.npz (pred_probs, given, wrong), label-errors-cifar10/, cifar10-human-labels-dev.csv, clothing-labels-dev.csv and
signs-labels-dev.csv. RUNS has finished scans named signs, xray, clothing, tiny and cifar, of which only samples and embeddings are read. What is
missing is skipped. --cache keeps the predictions of planted sets, which take most of the time.
"""

from __future__ import annotations

import argparse
import resource
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from label_sets import Labels, Planted, natural, planted

import audit.labels.suspicion as suspicion
from audit.checks.label_errors import Options
from audit.labels import systematic
from audit.labels.conflicts import disagreeing_duplicate_sets
from audit.labels.noise import estimate_noise, logarithms
from audit.labels.noise_fits import Fit
from audit.labels.quality import Judgment, judge, judge_labels
from audit.labels.review_yield import expected_yield
from audit.labels.statistics import quality_of_classes
from audit.pairs.duplicate_sets import connected_sets
from audit.predictions.calibration import softmax
from audit.predictions.out_of_sample import out_of_sample

Array = npt.NDArray[Any]

FOLDS = 5
GRID = [(h, a, sharper) for h in (0.1, 0.15, 0.2, 0.3) for a in (0.0, 0.02, 0.04, 0.06) for sharper in (0.5, 0.6, 0.8)]
"""Values of `UNEXPLAINED`, `SUPPLIED_PRIOR` and `SHARPER` among which the table that leaves one dataset out chooses."""


def cleanlab(predictions: Array, given: Array) -> dict[str, Array]:
    """Return cleanlab's scores, higher = more suspicious."""
    from cleanlab.rank import get_label_quality_scores

    clipped = np.clip(predictions.astype(np.float64), 1e-12, 1)
    clipped /= clipped.sum(1, keepdims=True)
    methods = {"self-confidence": "self_confidence", "margin": "normalized_margin", "entropy": "confidence_weighted_entropy"}
    return {name: 1 - get_label_quality_scores(given, clipped, method=method) for name, method in methods.items()}


def logistic(embeddings: Array, given: Array) -> Array:
    """Return out-of-sample predictions of scikit-learn's logistic regression."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    # Shuffled: rows are ordered by the published label, so folds of consecutive rows would leak the truth.
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    model = LogisticRegression(max_iter=1000)
    return np.asarray(cross_val_predict(model, embeddings.astype(np.float32), given, cv=folds, method="predict_proba"))


def average_precision(wrong: Array, score: Array) -> float:
    """Return the average precision among the judged labels."""
    from sklearn.metrics import average_precision_score

    known = np.isfinite(wrong)
    return float(average_precision_score(wrong[known], score[known]))


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


def precision_at(score: Array, wrong: Array, depth: int) -> str:
    """Return how many of the first labels are wrong, of how many that were judged."""
    first = np.argsort(-score, kind="stable")[:depth]
    return f"{int(np.nansum(wrong[first]))} of {int(np.isfinite(wrong[first]).sum())}"


def share_of(judged: Judgment) -> list[float]:
    """Return the estimated share of wrong labels and its interval."""
    return [float(judged.table[name].mean()) for name in ("probability_wrong", "probability_low", "probability_high")]


def ranking(sets: list[Labels]) -> None:
    """Print average precision beside cleanlab's scores on the same probabilities."""
    print("\n## Ranking: average precision, and its ratio to the best of cleanlab's three scores on the same probabilities\n")
    print("| labels | images | wrong | ours | best of cleanlab | ratio |\n|---|---|---|---|---|---|")
    lists = []
    for one in sets:
        score, peers = score_of(one), cleanlab(one.predictions, one.given)
        if np.isfinite(one.wrong).all():
            compare(one, score, peers)
            continue
        # Which labels were judged depends on the methods that listed them, so only the heads of the lists are compared.
        for name, peer in {**peers, "**ours**": score}.items():
            lists.append(f"| {one.name} | {name} | {precision_at(peer, one.wrong, 25)} | {precision_at(peer, one.wrong, 50)} |")
    print("\n| judged by eye | score | wrong of the judged among the first 25 | among the first 50 |\n|---|---|---|---|", *lists, sep="\n")


def regression(sets: list[Labels]) -> None:
    """Print average precision beside cleanlab's scores on logistic regression, where the embeddings are ours."""
    print("\n## The same beside logistic regression on the same embeddings\n")
    print("| labels | images | wrong | ours | best of cleanlab | ratio |\n|---|---|---|---|---|---|")
    some = [one for one in sets if not one.supplied and np.isfinite(one.wrong).all()]
    ratios = [compare(one, score_of(one), cleanlab(logistic(one.embeddings, one.given), one.given)) for one in some]  # type: ignore[arg-type]
    print(f"\nMean ratio: {np.mean(ratios) if ratios else np.nan:.3f}.")


def score_of(one: Labels) -> Array:
    """Return our score of every label."""
    return judge_labels(one.predictions, one.given, supplied=one.supplied)["score"].to_numpy()


def compare(one: Labels, score: Array, peers: dict[str, Array]) -> float:
    """Print a row; return the ratio to the best peer."""
    ours = average_precision(one.wrong, score)
    best, name = max((average_precision(one.wrong, peer), name) for name, peer in peers.items())
    print(f"| {one.name} | {len(one.given):,} | {one.wrong.mean():.1%} | {ours:.3f} | {best:.3f} ({name}) | {ours / best:.3f} |", flush=True)
    return ours / best


def calibration(sets: list[Labels]) -> None:
    """Print stated probabilities beside the truth."""
    print("\n## Stated probabilities\n")
    print("| labels | noise | wrong | stated share (interval) | ECE | flags from 0.5: wrong | from 0.9: wrong | changed labels found |")
    print("|---|---|---|---|---|---|---|---|")
    for one in sets:
        judged = judge(one.predictions, one.given, supplied=one.supplied)
        known = np.isfinite(one.wrong)
        wrong, stated = one.wrong[known], judged.table["probability_wrong"].to_numpy()[known]
        share, low, high = share_of(judged)
        truth, error = (f"{wrong.mean():.3f}", f"{expected_calibration_error(stated, wrong):.3f}") if known.all() else ("", "")
        flags = [f"{int(wrong[stated >= start].sum())} of {int((stated >= start).sum())}" for start in (0.5, 0.9)]
        test = judged.test
        found = f"{test.found_random:.2f} random, {test.found_confusable:.2f} confusable" if test else ""
        print(f"| {one.name} | {judged.noise.kind} | {truth} | {share:.3f} ({low:.3f} to {high:.3f}) | {error} | {' | '.join(flags)} | {found} |")


def planted_sets(cases: Iterator[Planted]) -> None:
    """Print calibration, coverage of the intervals and ranking on planted errors, and the self-test beside the errors that were really found."""
    rows = defaultdict(list)
    for one in cases:
        judged = judge(one.predictions, one.given)
        probability, score = (judged.table[name].to_numpy(np.float64) for name in ("probability_wrong", "score"))
        low, high = (judged.table[name].to_numpy(np.float64) for name in ("probability_low", "probability_high"))
        row: dict[str, Any] = {"wrong": one.wrong.mean(), "stated": probability.mean()}
        row["ECE"] = expected_calibration_error(probability, one.wrong)
        row["share"] = low.mean() <= one.wrong.mean() <= high.mean() or (one.kind == "none" and low.mean() <= 0.005)
        classes = quality_of_classes(judged.table, [str(code) for code in range(one.predictions.shape[1])])
        real = np.bincount(one.given, weights=one.wrong, minlength=len(classes)) / np.maximum(classes["n"], 1)
        row["classes"] = ((classes["low"] <= real + 1e-9) & (real <= classes["high"] + 1e-9))[classes["n"] > 0].mean()
        depths = np.unique([25, 50, 100, round(len(score) / 20), round(len(score) / 10)])
        found = expected_yield(score, probability, depths, ends=(low, high))
        at_depth = np.cumsum(one.wrong[np.argsort(-score, kind="stable")])[found.depth - 1] / found.depth
        row["list"] = ((found.low - 1e-9 <= at_depth) & (at_depth <= found.high + 1e-9)).mean()
        for start in (0.5, 0.9):
            flagged = probability >= start
            row[f"from {start}"], row[f"right from {start}"] = flagged.sum(), one.wrong[flagged].sum()
        if one.kind != "none":
            ours = average_precision(one.wrong, score)
            row["ratio"] = ours / max(average_precision(one.wrong, peer) for peer in cleanlab(one.predictions, one.given).values())
        if one.kind in ("random", "confusable"):
            changed = one.given != one.unplanted
            reused = judge_labels(one.reused, one.given)["probability_wrong"].to_numpy()
            row["found"], row["reused"] = (probability[changed] >= 0.5).mean(), (reused[changed] >= 0.5).mean()
        rows[one.field, one.kind].append(row)
    print("\n## Planted errors: means over the seeds\n")
    print("| field | planted | wrong | stated | ECE (largest) | from 0.5: wrong | from 0.9: wrong | holds: share, classes, list | AP ratio |")
    print("|---|---|---|---|---|---|---|---|---|")
    total = defaultdict(list)
    for (name, kind), several in rows.items():
        table = pd.DataFrame(several)
        total[kind].append(table)
        ratio = f"{table['ratio'].mean():.3f}" if "ratio" in table else ""
        holds = ", ".join(f"{table[part].mean():.2f}" for part in ("share", "classes", "list"))
        flags = " | ".join(f"{table[f'right from {start}'].sum():.0f} of {table[f'from {start}'].sum():.0f}" for start in (0.5, 0.9))
        error = f"{table['ECE'].mean():.3f} ({table['ECE'].max():.3f})"
        print(f"| {name} | {kind} | {table['wrong'].mean():.3f} | {table['stated'].mean():.3f} | {error} | {flags} | {holds} | {ratio} |")
    for kind, tables in total.items():
        table = pd.concat(tables)
        print(f"| all {len(table)} | {kind} | | | {table['ECE'].mean():.3f} | | | {', '.join(f'{table[part].mean():.2f}' for part in HOLDS)} | |")
    table = pd.concat([table for tables in total.values() for table in tables])
    print(f"| all {len(table)} | | | | {table['ECE'].mean():.3f} | | | {', '.join(f'{table[part].mean():.2f}' for part in HOLDS)} | |")
    print("\n## Self-test: share of the planted errors that is found, by models fitted on them, and with the predictions reused\n")
    print("| field | planted | models fitted on them | predictions reused |\n|---|---|---|---|")
    for (name, kind), several in rows.items():
        if kind in ("random", "confusable"):
            table = pd.DataFrame(several)
            print(f"| {name} | {kind} | {table['found'].mean():.3f} | {table['reused'].mean():.3f} |")


HOLDS = ("share", "classes", "list")


def leave_one_out(sets: list[Labels]) -> None:
    """Choose the constants of errors on hard images on all datasets but one, and print the calibration error of the one left out."""
    some = [one for one in sets if np.isfinite(one.wrong).all()]
    of = {one.name: "roman" if "roman" in one.name else "worst" if "worst" in one.name else one.name for one in some}
    fits = {one.name: estimate_noise(one.predictions, one.given, supplied=one.supplied) for one in some}
    errors = pd.DataFrame(index=pd.MultiIndex.from_tuples(GRID, names=["h", "a", "sharper"]), columns=[one.name for one in some], dtype=float)
    chosen = suspicion.UNEXPLAINED, suspicion.SUPPLIED_PRIOR, suspicion.SHARPER
    for constants in GRID:
        suspicion.UNEXPLAINED, suspicion.SUPPLIED_PRIOR, suspicion.SHARPER = constants
        for one in some:
            probability = suspicion.suspect(one.predictions, one.given, fits[one.name]).probability
            errors.loc[constants, one.name] = expected_calibration_error(probability, one.wrong)
    suspicion.UNEXPLAINED, suspicion.SUPPLIED_PRIOR, suspicion.SHARPER = chosen
    print(f"\n## Leaving one dataset out: h, a and the sharpening are chosen on the others (in use: {chosen})\n")
    print("| left out | chosen on the others | ECE with these | ECE with those in use |\n|---|---|---|---|")
    for name in dict.fromkeys(of.values()):
        mine = [column for column in errors if of[str(column)] == name]
        best = tuple(float(value) for value in errors.drop(columns=mine).max(axis=1).idxmin())
        for column in mine:
            print(f"| {column} | {best} | {errors.loc[best, column]:.3f} | {errors.loc[chosen, column]:.3f} |")


def pair_threshold(cases: Iterator[Planted]) -> None:
    """Print the gains in log likelihood by pairs of classes, and `PAIR_GAIN` chosen on the other fields."""
    gains: dict[str, dict[str, list[float]]] = defaultdict(lambda: {"without": [], "systematic": [], "systematic, alike": []})
    for one in cases:
        found = systematic.pair_gains(*without_pairs(one))
        if not one.kind.startswith("systematic"):
            gains[one.field]["without"].append(float(found.gain.max(initial=0)))
            continue
        changed = np.flatnonzero(one.given != one.unplanted)[0]
        pair = (found.true == one.unplanted[changed]) & (found.given == one.given[changed])
        gains[one.field][one.kind].append(float(found.gain[pair].max(initial=0)))
    print(f"\n## Systematic errors: gains in log likelihood by pairs of classes (in use: from {systematic.PAIR_GAIN:g})\n")
    print("A pair is reported from the threshold: the smallest whole number above all gains without systematic errors, on the other fields.\n")
    print("| field left out | largest without | planted | planted, alike | threshold | above it: without | planted | planted, alike |")
    print("|---|---|---|---|---|---|---|---|")
    for name, mine in gains.items():
        threshold = np.ceil(max(max(other["without"]) for left, other in gains.items() if left != name))
        above = [f"{sum(gain >= threshold for gain in mine[kind])} of {len(mine[kind])}" for kind in mine]
        planted_gains = [" ".join(f"{gain:.0f}" for gain in sorted(mine[kind])) for kind in ("systematic", "systematic, alike")]
        print(f"| {name} | {max(mine['without']):.1f} | {' | '.join(planted_gains)} | {threshold:g} | {' | '.join(above)} |")


def without_pairs(one: Planted) -> tuple[Array, Array, Fit]:
    """Return predictions, labels and the fit of random and, where they are earned, confusable errors."""
    used, systematic.PAIR_GAIN = systematic.PAIR_GAIN, np.inf
    noise = estimate_noise(one.predictions, one.given)
    systematic.PAIR_GAIN = used
    if noise.transition is not None:
        noise = estimate_noise(one.predictions, one.given, kind="random")
    prior = softmax(logarithms(one.predictions) / np.float32(noise.temperature))
    return prior, one.given, Fit(0.0, noise.share, noise.confusable)


def yields(one: Labels) -> None:
    """Print the expected and the true precision at some depths of the list, before and after the first 200 are reviewed."""
    table = judge_labels(one.predictions, one.given, supplied=one.supplied)
    score, probability, low, high = (table[name].to_numpy() for name in ("score", "probability_wrong", "probability_low", "probability_high"))
    order = np.argsort(-score, kind="stable")
    reviewed = np.full(len(score), np.nan)
    reviewed[order[:200]] = one.wrong[order[:200]]
    depths = np.array([250, 500, 1000, 2000, 4000, 8000])
    real = np.cumsum(one.wrong[order])[depths - 1] / depths
    before, after = (expected_yield(score, probability, depths, ends=(low, high), outcome=known) for known in (None, reviewed))
    print(f"\n## How much to review: {one.name}\n\n| reviewed | wrong among them | expected | after 200 decisions |\n|---|---|---|---|")
    for at, depth in enumerate(depths):
        expected = [f"{found.precision[at]:.3f} ({found.low[at]:.3f} to {found.high[at]:.3f})" for found in (before, after)]
        print(f"| {depth} | {real[at]:.3f} | {expected[0]} | {expected[1]} |")


def copies(one: Labels, runs: Path) -> None:
    """Judge copies with different labels alone, and with the votes of all copies."""
    from sklearn.metrics import log_loss

    samples = pd.read_parquet(runs / "cifar" / "samples.parquet", columns=["split"])
    place = np.full(len(samples), -1)
    place[samples["split"].eq("train").to_numpy()] = np.arange(len(one.given))
    pairs = pd.read_parquet(runs / "cifar" / "pairs.parquet")
    pairs = pairs.assign(i=place[pairs["i"]], j=place[pairs["j"]]).query("i >= 0 and j >= 0")
    rows = np.concatenate([np.empty(0, np.int64), *(parts[-1].rows for parts in disagreeing_duplicate_sets(pairs, one.given))])
    groups = connected_sets(pairs, len(one.given))
    predictions = out_of_sample(one.embeddings, one.given.astype(np.int32), groups, seed=0).probabilities  # type: ignore[arg-type]
    wrong = one.wrong[rows]
    print(f"\n## Copies: {one.name}, {len(rows)} copies with different labels, {wrong.sum():.0f} wrong\n")
    print("| judged | reported | wrong among them | log loss |\n|---|---|---|---|")
    for name, some in (("each alone", None), ("with all copies", pairs)):
        probability = judge_labels(predictions, one.given, some)["probability_wrong"].to_numpy()[rows]
        reported = probability >= Options().min_probability
        print(f"| {name} | {reported.sum()} | {wrong[reported].sum():.0f} | {log_loss(wrong, np.clip(probability, 1e-4, 1 - 1e-4)):.3f} |")


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
    seconds = timed(lambda: judge_labels(predictions, given))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    table = predictions.nbytes / 2**30
    print(f"\n{rows} x {classes} predictions ranked in {seconds:.0f} s, peak memory {peak:.1f} GiB (the table itself: {table:.1f} GiB).")


def timed(function: Callable[[], Any]) -> float:
    """Return the seconds that a call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


SECTIONS = ("ranking", "calibration", "leave_one_out", "yields", "copies", "planted", "pairs", "regression")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("runs", type=Path, nargs="?")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--memory", action="store_true")
    asked = parser.parse_args()
    if asked.memory:
        memory()
    if asked.data is None or asked.runs is None:
        return
    for folder in (asked.data, asked.runs):
        if not folder.is_dir():
            parser.error(f"{folder}: is not a folder")
    warnings.simplefilter("ignore")
    show(asked.only, asked.data, asked.runs, asked.seeds, asked.cache)


def show(sections: Collection[str], data: Path, runs: Path, seeds: int, cache: Path | None) -> None:
    """Print some tables."""
    sets = list(natural(data, runs, cache))
    for name, table in (("ranking", ranking), ("calibration", calibration), ("leave_one_out", leave_one_out)):
        if name in sections:
            table(sets)
    for one in (one for one in sets if one.name.startswith("cifar10n-") and not one.supplied):
        if "yields" in sections:
            yields(one)
        if "copies" in sections:
            copies(one, runs)
    if "planted" in sections:
        planted_sets(planted(data, runs, seeds, cache))
    if "pairs" in sections:
        pair_threshold(planted(data, runs, seeds, cache))
    if "regression" in sections:
        regression(sets)


if __name__ == "__main__":
    main()
