"""Out-of-sample class probabilities, from models that saw neither the image nor a copy of it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from audit.errors import AuditError
from audit.io.artifacts import release
from audit.io.blocks import rows_at_once, some_of
from audit.predictions.folds import folds_of, keys_of, numbered, order_of_images

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from audit.predictions.predictor import Predictor
    from audit.predictions.probes import Projection

MAX_TRAINING_ROWS = 200_000
"""Maximum rows to train on, the same number of each class; bounds memory and time. All rows are predicted."""

FOLDS = 5
"""Number of folds; fewer if there are fewer duplicate sets."""

FEATURES = 384
"""Principal components kept of an embedding."""

_ROWS_AT_ONCE = 4096
_CALIBRATION_ROWS = 50_000


@dataclass(frozen=True, slots=True)
class Predictions:
    """Class probabilities and how they were computed."""

    probabilities: npt.NDArray[np.float32]
    """``[n, c]``; rows sum to 1, or are all NaN without a prediction."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """Details as JSON values, including ``warnings``."""
    fold: npt.NDArray[np.int8] | None = None
    """``[n]`` fold whose model predicted the row; -1 = all folds, or no prediction. None for a user's own predictions, as is ``predictor``."""
    predictor: Predictor | None = None
    """The fitted models, for new images."""


def out_of_sample(
    embeddings: npt.NDArray[np.float16],
    labels: npt.NDArray[np.int32],
    groups: npt.NDArray[np.int64],
    *,
    images: npt.NDArray[np.bytes_] | None = None,
    seed: int = 0,
    device: str = "cpu",
    into: npt.NDArray[np.float32] | None = None,
    advance: Callable[[int], None] | None = None,
) -> Predictions:
    """Predict every image's class with models that saw neither it nor its copies.

    The prediction is the mean of four members (see `audit.predictions.probes`), calibrated by one temperature on the given labels.

    Args:
        embeddings: float16 ``[n, d]`` unit rows; NaN rows for images without one. Read in blocks, so a memory map stays on disk.
        labels: int ``[n]`` class codes, 0 to c - 1; -1 = unlabelled, predicted by the mean of all folds.
        groups: int ``[n]`` duplicate set of each row, which shares a fold; that includes unlabelled copies of a labelled image.
        images: ``[n]`` digest of each image, which makes folds and models independent of the order of rows and of class names; None: they depend on
            it.
        seed: seed of folds and models; the same seed gives the same bytes on one machine.
        device: PyTorch device for the networks.
        into: float32 ``[n, c]`` output array, such as a memory-mapped file; None for a new array.
        advance: called with the number of rows predicted since the last call.

    Returns:
        float32 ``[n, c]`` with c = the highest code + 1. NaN rows: no embedding, or the row's own class has no example outside its fold.

    Raises:
        AuditError: fewer than two classes have labelled images with an embedding, or all of them are copies of one image.
    """
    from audit.predictions.calibration import best_temperature, most_to_calibrate
    from audit.predictions.predictor import Predictor, log_of, tempered
    from audit.predictions.probes import MEMBERS, Training

    classes = int(labels.max(initial=-1)) + 1
    usable = rows_with_embedding(embeddings)
    present = len(np.unique(labels[usable & (labels >= 0)]))
    if present < 2:
        problem = f"{present} class{'es have' if present != 1 else ' has'} labelled images that could be read"
        raise AuditError("labels", problem, "predictions need at least two classes")
    order, column = order_of_images(images, labels, classes) if images is not None else (np.arange(len(labels)), np.arange(classes))
    fold = np.empty(len(labels), np.int8)
    keys = None if images is None else keys_of(images[order])
    fold[order] = folds_of(np.append(column, -1)[labels[order]].astype(np.int32), numbered(groups[order]), usable[order], FOLDS, seed, keys)
    kept = int(fold.max()) + 1
    judged = (fold >= 0) & (labels >= 0)
    chosen = order[judged[order]]
    if len(chosen) > MAX_TRAINING_ROWS:
        chosen = chosen[_even_share(column[labels[chosen]], seed)]
    features, project = learned_features(embeddings, chosen)
    training = Training(features, column[labels[chosen]], fold[chosen], kept, classes, seed, device)
    predict = Predictor(project, {name: fit(training) for name, (fit, _) in MEMBERS.items()}, column)

    probabilities = np.empty((len(labels), classes), np.float32) if into is None else into
    probabilities[np.flatnonzero(~usable)] = np.nan
    rows, at_once = np.flatnonzero(usable), min(_ROWS_AT_ONCE, rows_at_once(classes))
    for start in range(0, len(rows), at_once):
        block = rows[start : start + at_once]
        probabilities[block] = predict(embeddings[block], fold[block])
        release(probabilities, embeddings)
        if advance is not None:
            advance(len(block))

    probabilities[own_class_unseen(labels, fold, classes, kept)] = np.nan
    known = order[(judged & np.isfinite(probabilities[:, 0]))[order]]
    temperature = 1.0
    if len(known):
        known = some_of(known, most_to_calibrate(_CALIBRATION_ROWS, classes), seed=seed)
        temperature = best_temperature(log_of(probabilities[known]), labels[known].astype(np.int64))
        for start in range(0, len(labels), at_once):
            part = slice(start, start + at_once)
            probabilities[part] = tempered(probabilities[part], temperature)
            release(probabilities)
    record = {
        "folds": np.bincount(fold[judged], minlength=kept).tolist(),
        "trained_on": len(chosen),
        "features": features.shape[1],
        "members": {name: 1 / len(predict.members) for name in predict.members},
        "temperature": temperature,
        "not_judged": int((judged & ~np.isfinite(probabilities[:, 0])).sum()),
    }
    return Predictions(probabilities, record, fold, dataclasses.replace(predict, temperature=temperature))


def rows_with_embedding(embeddings: npt.NDArray[np.float16]) -> npt.NDArray[np.bool_]:
    """Return bool ``[n]``: which rows are finite; read in blocks."""
    usable = np.empty(len(embeddings), bool)
    for start in range(0, len(embeddings), _ROWS_AT_ONCE):
        usable[start : start + _ROWS_AT_ONCE] = np.isfinite(embeddings[start : start + _ROWS_AT_ONCE]).all(1)
    return usable


def learned_features(embeddings: npt.NDArray[np.float16], rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float32], Projection]:
    """Return the features of rows, ``[m, k]``, and the projection fitted on them; embeddings are read in blocks."""
    from audit.predictions.probes import fit_projection

    parts = [rows[start : start + _ROWS_AT_ONCE] for start in range(0, len(rows), _ROWS_AT_ONCE)]
    learned = [embeddings[part] for part in parts]
    project = fit_projection(np.concatenate(learned), FEATURES)
    return np.concatenate([project(block) for block in learned]), project


def _even_share(labels: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """Sample at most the same number of rows of each class, up to `MAX_TRAINING_ROWS` in all."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    counts = np.bincount(labels[by_class])
    rank = np.arange(len(by_class)) - np.repeat(np.cumsum(counts) - counts, counts)
    allowed = np.sort(counts)
    # Bisect the largest quota q with sum(min(count, q)) <= the limit.
    low, high = 1, int(allowed[-1])
    while low < high:
        middle = math.ceil((low + high) / 2)
        if np.minimum(counts, middle).sum() <= MAX_TRAINING_ROWS:
            low = middle
        else:
            high = middle - 1
    return np.sort(by_class[rank < low])


def own_class_unseen(labels: npt.NDArray[np.int32], fold: npt.NDArray[np.int8], classes: int, folds: int) -> npt.NDArray[np.bool_]:
    """Return bool ``[n]``: rows whose class has no example in another fold, so that their model does not know it."""
    held = np.zeros((classes, folds), np.int64)
    judged = (fold >= 0) & (labels >= 0)
    np.add.at(held, (labels[judged], fold[judged]), 1)
    unseen = np.zeros(len(labels), bool)
    unseen[judged] = held[labels[judged], fold[judged]] == held.sum(1)[labels[judged]]
    return unseen
