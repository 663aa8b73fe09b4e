"""Fit the scores of compared pairs on several fields, and test them on each field that the fit has not seen.

    python benchmarks/pair_confirmation.py clothing=FOLDER:PAIRS.csv signs=FOLDER:PAIRS.csv photos=FOLDER [--edited 10] [--alike 260] [--runs SCRATCH]

Each field is a folder of images, with or without a table ``sample_i, sample_j, verdict`` (copy, same_scene, different; others are left out). Three
kinds of pairs are compared as a scan compares them: judged ones, edited copies created here (``edits.py``), and the candidates of which most local
features agree. The last count as different unless the table says otherwise: use fields of which that is known, or look at those that score highest
(``--sheet FOLDER``).

Prints the measures by field and kind, then two leave-one-field-out tables: P(copy), and P(same thing) among judged pairs that are not copies. The
last lines are the coefficients in ``audit.pairs.score``, fitted on all fields. Every field, and copies and others within it, weigh the same; the
regularisation is the one with the least logarithmic loss on the fields left out.
"""

from __future__ import annotations

import argparse
import io
import random
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from edits import EDITS
from inputs import Field, field
from PIL import Image, ImageOps
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import audit
from audit.images.local_features import features, local_features
from audit.pairs.confirmation import compare_images
from audit.pairs.evidence import MEASURES
from audit.pairs.retrieval import shared_features
from audit.pairs.screening import FARTHEST, votes
from audit.processes import available_cpus

Doubles = npt.NDArray[np.float64]

COPY = ["fine", "middle", "coarse", "middle_lower"]
SAME_THING = ["inliers"]
REGULARISATIONS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


class Pair(NamedTuple):
    """A pair to compare: the second image is a file of the field or encoded bytes."""

    field: Field
    kind: str
    first: str
    second: str | bytes


def pairs_of(one: Field, run: audit.Run, edited: int, alike: int) -> Iterator[Pair]:
    """Yield the judged pairs, edited copies, and the candidates of which most features agree."""
    names = run.samples["sample_id"].tolist()
    judged = pd.read_csv(one.verdicts) if one.verdicts else pd.DataFrame(columns=["sample_i", "sample_j", "verdict"])
    judged = judged[judged["sample_i"].isin(names) & judged["sample_j"].isin(names)]
    yield from (Pair(one, pair.verdict, pair.sample_i, pair.sample_j) for pair in judged.itertuples() if pair.verdict != "unsure")
    known = {frozenset(pair) for pair in judged[["sample_i", "sample_j"]].itertuples(index=False, name=None)}
    for name in random.Random(0).sample(names, min(edited, len(names))):
        image = Image.fromarray(one.pixels(name))
        yield from (Pair(one, f"edit: {edit}", name, EDITS[edit].copy(image)) for edit in EDITS)
    neighbors = np.asarray(run.neighbors[:, :20])
    rows, others = np.repeat(np.arange(len(neighbors)), neighbors.shape[1]), neighbors.ravel()
    shared = shared_features(run.features, np.flatnonzero(run.samples["outcome"] == "ok"))
    near = np.stack([np.concatenate([rows[others >= 0], shared.first]), np.concatenate([others[others >= 0], shared.second])], axis=1)
    near = np.unique(np.sort(near, axis=1), axis=0)
    width, height = (run.samples[side].to_numpy(float) for side in ("width", "height"))
    widths = (255 * width / np.maximum(width, height)).astype(np.float32)
    count = votes(run.features, widths, shared.limits, near[:, 0], near[:, 1]).count
    for first, second in near[np.argsort(-count, kind="stable")[:alike]].tolist():
        if frozenset((names[first], names[second])) not in known:
            yield Pair(one, "alike", names[first], names[second])


def compared(pair: Pair) -> list[float]:
    """Return the measures of a pair and whether it aligns; the orientation on which more features agree."""
    one = pair.field.pixels(pair.first)
    other = pair.field.pixels(pair.second) if isinstance(pair.second, str) else np.asarray(Image.open(io.BytesIO(pair.second)).convert("RGB"))
    stored = np.stack([features(one), features(other)])
    widths = np.array([255 * image.shape[1] / max(image.shape[:2]) for image in (one, other)], np.float32)
    agree = votes(stored, widths, np.full(stored.shape[:2], FARTHEST, np.uint8), np.array([0]), np.array([1]))
    evidence = compare_images(local_features(one), local_features(other), mirrored=bool(agree.mirrored[0]))
    return [*evidence.measures[0].tolist(), float(evidence.detail_correlation[0]), float(evidence.compared_at[0] > 0)]


def fit(inputs: Doubles, right: npt.NDArray[np.bool_], fields: npt.NDArray[np.object_], strength: float, *, by_class: bool) -> tuple[Doubles, float]:
    """Return weights and intercept of a logistic regression in which every field weighs the same, and every class within it."""
    scaler = StandardScaler().fit(inputs)
    groups = pd.Series([(name, one if by_class else 0) for name, one in zip(fields, right, strict=True)])
    weight = 1 / groups.map(groups.value_counts()).clip(lower=20).to_numpy(float)
    model = LogisticRegression(C=strength, max_iter=2000).fit(scaler.transform(inputs), right, sample_weight=weight * len(weight) / weight.sum())
    weights = model.coef_[0] / scaler.scale_
    return weights, float(model.intercept_[0] - weights @ scaler.mean_)


def chance(weights: Doubles, intercept: float, inputs: Doubles) -> Doubles:
    """Return probabilities."""
    return np.asarray(1 / (1 + np.exp(-(inputs @ weights + intercept))))


def left_out(table: pd.DataFrame, columns: list[str], right: pd.Series, strength: float, *, by_class: bool) -> pd.Series:
    """Return the probability of each pair by a fit on the other fields."""
    found = pd.Series(0.0, index=table.index)
    for name in table["field"].unique():
        mine = table["field"] == name
        taught = table[~mine & table["aligned"]]
        if right[taught.index].any() and not right[taught.index].all():
            model = fit(
                taught[columns].to_numpy(float), right[taught.index].to_numpy(bool), taught["field"].to_numpy(object), strength, by_class=by_class
            )
            found[mine] = chance(*model, table.loc[mine, columns].to_numpy(float)) * table.loc[mine, "aligned"]
    return found


def best(table: pd.DataFrame, columns: list[str], right: pd.Series, *, by_class: bool) -> float:
    """Return the regularisation with the least loss on the fields left out."""

    def loss(strength: float) -> float:
        found = left_out(table, columns, right, strength, by_class=by_class)[table["aligned"]].clip(1e-9, 1 - 1e-9)
        each = -np.log(found.where(right, 1 - found))
        return float(each.groupby([table["field"], right]).mean().groupby("field").mean().mean())

    return min(REGULARISATIONS, key=loss)


def report(name: str, table: pd.DataFrame, columns: list[str], right: pd.Series, least: float, *, by_class: bool) -> pd.Series:
    """Print a leave-one-field-out table and the coefficients on all fields; return the probabilities of the fields left out."""
    strength = best(table, columns, right, by_class=by_class)
    found = left_out(table, columns, right, strength, by_class=by_class)
    print(f"\n| {name}: field left out | pairs | kept from {least} | expected precision | found | recall |\n|---|---|---|---|---|---|")
    for one in table["field"].unique():
        mine = table["field"] == one
        kept = mine & (found >= least)
        share = f"{found[kept].mean():.3f} | {right[kept].mean():.3f}" if kept.any() else "none | none"
        print(f"| {one} | {mine.sum()} | {kept.sum()} | {share} | {(kept & right).sum() / max((mine & right).sum(), 1):.3f} |")
    aligned = table[table["aligned"]]
    weights, intercept = fit(
        aligned[columns].to_numpy(float), right[aligned.index].to_numpy(bool), aligned["field"].to_numpy(object), strength, by_class=by_class
    )
    print(f"\n{name}: {dict(zip(columns, weights.round(3).tolist(), strict=True))}, intercept {intercept:.3f}, C {strength}")
    return found


def sheet(table: pd.DataFrame, found: pd.Series, folder: Path) -> None:
    """Draw the 24 pairs of each field that are not known as copies and score highest."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in table["field"].unique():
        chosen = table[(table["field"] == name) & (table["kind"] == "alike")].index
        drawn = Image.new("RGB", (6 * 340, 4 * 170), "white")
        for at, row in enumerate(found[chosen].sort_values(ascending=False).index[:24]):
            pair = table.loc[row, "pair"]
            for side, file in enumerate((pair.first, pair.second)):
                drawn.paste(ImageOps.contain(Image.fromarray(pair.field.pixels(file)), (160, 160)), (at % 6 * 340 + side * 164, at // 6 * 170))
        drawn.save(folder / f"{name}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fields", nargs="+", type=field, metavar="NAME=FOLDER[:PAIRS.csv]")
    parser.add_argument("--edited", type=int, default=10, help="images of which edited copies are created")
    parser.add_argument("--alike", type=int, default=260, help="candidates, those of which most features agree first")
    parser.add_argument("--runs", type=Path, help="folder to keep runs in")
    parser.add_argument("--sheet", type=Path, help="folder for contact sheets of the highest scores among other candidates")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        pairs: list[Pair] = []
        for one in arguments.fields:
            options = audit.ScanOptions(backbone="embedded", offline=True, only=("near_duplicates",))
            run = audit.scan(one.folder, (arguments.runs or Path(scratch)) / one.name, options=options)
            pairs += pairs_of(one, run, arguments.edited, arguments.alike)
        cv2.setNumThreads(1)
        with ThreadPoolExecutor(available_cpus()) as threads:  # OpenCV releases the GIL
            measured = list(threads.map(compared, pairs))
    table = pd.DataFrame(measured, columns=[*MEASURES, "details", "aligned"])
    table.insert(0, "field", [pair.field.name for pair in pairs])
    table.insert(1, "kind", [pair.kind for pair in pairs])
    table["pair"], table["aligned"] = pairs, table["aligned"] > 0
    print("| field | kind | pairs | aligned | correlation of details, 5% / 50% / 95% | inliers, 50% |\n|---|---|---|---|---|---|")
    for (name, kind), part in table.assign(kind=table["kind"].str.partition(":")[0]).groupby(["field", "kind"]):
        low, middle, high = part["details"].quantile([0.05, 0.5, 0.95])
        inliers = np.expm1(part["inliers"].median())
        print(f"| {name} | {kind} | {len(part)} | {part['aligned'].mean():.2f} | {low:.2f} / {middle:.2f} / {high:.2f} | {inliers:.0f} |")
    copies = table["kind"].eq("copy") | table["kind"].str.startswith("edit")
    found = report("P(copy)", table, COPY, copies, 0.5, by_class=True)
    judged = table[table["kind"].isin(["same_scene", "different"])]
    if len(judged["field"].unique()) > 1:
        report("P(same thing)", judged, SAME_THING, judged["kind"].eq("same_scene"), 0.95, by_class=False)
    if arguments.sheet:
        sheet(table, found, arguments.sheet)


if __name__ == "__main__":
    main()
