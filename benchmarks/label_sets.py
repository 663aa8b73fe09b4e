"""Labels whose truth is known: sets that people made, and fields in whose labels errors are planted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from audit.predictions.out_of_sample import out_of_sample

Array = npt.NDArray[Any]

FIELDS = {"signs": None, "xray": None, "clothing": None, "cifar": 6000, "tiny": 4000}
"""Fields on which labels are planted, and the number of images drawn from them."""
KINDS = {"none": 0.0, "random": 0.05, "confusable": 0.05, "mixed": 0.15, "systematic": 0.25, "systematic, alike": 0.25}
"""Planted errors, and the share of the labels: to any class, to the class that the image is most easily taken for, or half of each. The systematic
ones give a share of one class to another: to one drawn at random, or to the one that its images are most easily taken for."""
LEAST_IMAGES = 15
"""Images of each of the two classes between which systematic errors are planted."""


class Labels(NamedTuple):
    """A set of labels and what is known about it."""

    name: str
    predictions: Array
    given: Array
    wrong: Array
    """``[n]`` 1 = wrong, 0 = right, NaN = not judged."""
    embeddings: Array | None = None
    """None for supplied predictions."""

    @property
    def supplied(self) -> bool:
        """Whether the predictions are another network's."""
        return self.embeddings is None


def predict(name: str, embeddings: Array, labels: Array, seed: int, cache: Path | None) -> Array:
    """Return out-of-sample predictions, from the cache if they are in it."""
    key = hashlib.sha1(np.ascontiguousarray(labels).tobytes() + str((name, len(embeddings), seed)).encode()).hexdigest()[:12]
    file = cache / f"{name}-{key}.npz" if cache else None
    if file and file.is_file():
        return np.asarray(np.load(file)["p"])
    found = out_of_sample(embeddings, labels.astype(np.int32), np.arange(len(labels)), seed=seed).probabilities
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, p=found)
    return np.asarray(found)


def field(runs: Path, name: str) -> tuple[Array, Array, pd.Series, list[str]] | None:
    """Return embeddings, label codes, sample ids and classes of a scan's labelled images; None if the scan is missing."""
    if not (runs / name / "embeddings.npy").is_file():
        return None
    samples, embeddings = pd.read_parquet(runs / name / "samples.parquet"), np.load(runs / name / "embeddings.npy")
    kept = samples["label"].notna().to_numpy() & np.isfinite(embeddings[:, 0])
    if name in ("cifar", "tiny"):
        kept &= samples["split"].eq("train").to_numpy()
    samples = samples[kept].reset_index(drop=True)
    classes = sorted(samples["label"].unique())
    return embeddings[kept], pd.Index(classes).get_indexer(samples["label"]), samples["sample_id"], classes


def judged_by_eye(data: Path, name: str, ids: pd.Series) -> Array:
    """Return 1 for wrong, 0 for other verdicts, NaN without one; on signs, whose labels are all known, the others are right."""
    verdicts = pd.read_csv(data / f"{name}-labels-dev.csv").drop_duplicates("sample").set_index("sample")["verdict"]
    found = ids.map(verdicts)
    return np.where(found.isna(), 0.0 if name == "signs" else np.nan, found.eq("wrong").astype(float))


def natural(data: Path, runs: Path, cache: Path | None) -> Iterator[Labels]:
    """Yield the sets of labels that people made."""
    for name in ("signs", "clothing"):
        if found := field(runs, name):
            embeddings, given, ids, _ = found
            yield Labels(name, predict(name, embeddings, given, 0, cache), given, judged_by_eye(data, name, ids), embeddings)
    if found := field(runs, "cifar"):
        embeddings, _, ids, classes = found
        human = pd.read_csv(data / "cifar10-human-labels-dev.csv").set_index("index")
        human = human.loc[ids.str.rsplit("/", n=1).str[-1].str.split(".").str[0].astype(int)]
        true = pd.Index(classes).get_indexer(human["clean_label"])
        for name, column in (("cifar10n-agg", "aggre_label"), ("cifar10n-ran", "random_label1")):
            given = pd.Index(classes).get_indexer(human[column])
            yield Labels(name, predict(name, embeddings, given, 0, cache), given, (given != true).astype(float), embeddings)
    for file in sorted((data / "label-arrays-dev").glob("*.npz")):
        array = np.load(file)
        yield Labels(file.stem, array["pred_probs"].astype(np.float32), array["given"].astype(np.int64), array["wrong"].astype(float))
    published = data / "label-errors-cifar10"
    if published.is_dir():
        votes = pd.read_csv(published / "human_votes.csv")
        given = np.load(published / "labels.npy").astype(np.int64)
        wrong = np.isin(np.arange(len(given)), votes.loc[votes["given"] < 3, "index"]).astype(float)
        yield Labels("published", np.load(published / "pred_probs.npy").astype(np.float32), given, wrong)


class Planted(NamedTuple):
    """A field with errors planted in its labels."""

    field: str
    kind: str
    predictions: Array
    """Of models fitted on the planted labels."""
    given: Array
    wrong: Array
    unplanted: Array
    """Labels before planting."""
    reused: Array
    """Predictions of models fitted on the labels before planting."""


def planted(data: Path, runs: Path, seeds: int, cache: Path | None) -> Iterator[Planted]:
    """Yield every field with every kind of planted errors, once per seed; labels that were judged wrong count as wrong as well."""
    for seed in range(seeds):
        for name, size in FIELDS.items():
            found = field(runs, name)
            if not found:
                continue
            embeddings, labels, ids, _ = found
            known = judged_by_eye(data, name, ids) if (data / f"{name}-labels-dev.csv").is_file() else np.zeros(len(labels))
            if size and len(labels) > size:
                kept = np.sort(np.random.default_rng(100 + seed).choice(len(labels), size, replace=False))
                embeddings, labels, known = embeddings[kept], labels[kept], known[kept]
            before = predict(f"{name}-base", embeddings, labels, seed, cache)
            for kind, share in KINDS.items():
                given = plant(labels, before, kind, share, seed)
                after = before if kind == "none" else predict(f"{name}-{kind}", embeddings, given, seed, cache)
                some = np.isfinite(after[:, 0])
                wrong = np.maximum(given != labels, np.nan_to_num(known)).astype(float)
                yield Planted(name, kind, after[some], given[some], wrong[some], labels[some], before[some])


def plant(labels: Array, predictions: Array, kind: str, share: float, seed: int) -> Array:
    """Return labels of which a share is changed; systematic errors change that share of one class.

    Args:
        labels: ``[n]`` class codes.
        predictions: ``[n, c]`` out-of-sample predictions for these labels.
        kind: a key of `KINDS`.
        share: of the labels, or of those of one class.
        seed: decides which labels are changed.
    """
    draw = np.random.default_rng(1000 * seed + 7)
    if kind.startswith("systematic"):
        return _one_class_to_another(labels, predictions, share, draw, alike=kind != "systematic")
    rows = draw.choice(len(labels), round(len(labels) * share), replace=False)
    half = {"random": len(rows), "confusable": 0, "mixed": len(rows) // 2, "none": 0}[kind]
    given = labels.copy()
    given[rows[:half]] = (labels[rows[:half]] + draw.integers(1, predictions.shape[1], half)) % predictions.shape[1]
    other = np.nan_to_num(predictions[rows[half:]])
    other[np.arange(len(other)), labels[rows[half:]]] = -1
    given[rows[half:]] = other.argmax(1)
    return given


def _one_class_to_another(labels: Array, predictions: Array, share: float, draw: np.random.Generator, *, alike: bool) -> Array:
    large = np.flatnonzero(np.bincount(labels, minlength=predictions.shape[1]) >= LEAST_IMAGES)
    true = int(draw.choice(large))
    other = int(draw.choice(large[large != true]))
    if alike:
        mean = np.nanmean(predictions[labels == true], 0)
        other = int(large[large != true][mean[large[large != true]].argmax()])
    rows = np.flatnonzero(labels == true)
    given = labels.copy()
    given[draw.choice(rows, round(len(rows) * share), replace=False)] = other
    return given
