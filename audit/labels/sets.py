"""Images with several labels each: their labels, and which of these are probably wrong or missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from audit.io.blocks import blocks
from audit.labels.suspicion import VOTE_WEIGHT
from audit.predictions.calibration import sigmoid

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt
    from scipy.sparse import csr_array

    from audit.labels.conflicts import Part

PSEUDO_COUNT = 10.0
"""Pseudo-count of randomly labelled images per class, so that an unseen error is not impossible."""

FORGETTING = 0.8
"""Decay of cleanlab's exponential moving average over an image's classes, cleanlab's default: the most doubtful class has the largest weight."""


def sets_of_labels(samples: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return each sample's labels, sorted and unique, from ``label`` or ``labels``; empty for none."""
    found: list[tuple[str, ...]] = []
    for one, several in zip(samples["label"], samples["labels"], strict=True):
        if isinstance(one, str):
            found.append((one,))
        else:
            is_list = isinstance(several, list | tuple | np.ndarray)
            found.append(tuple(sorted({name for name in several if isinstance(name, str)})) if is_list else ())
    return found


def membership(labels: Iterable[tuple[str, ...]], classes: list[str]) -> csr_array:
    """Return bool ``[n, c]``: which labels each image has; labels without a column are ignored."""
    from scipy.sparse import csr_array

    place = {name: at for at, name in enumerate(classes)}
    columns, starts = [], [0]
    for several in labels:
        columns += [place[name] for name in several if name in place]
        starts.append(len(columns))
    return csr_array((np.ones(len(columns), bool), np.array(columns, np.int64), np.array(starts, np.int64)), shape=(len(starts) - 1, len(classes)))


def set_codes(labels: list[tuple[str, ...]]) -> npt.NDArray[np.int64]:
    """Return int64 ``[n]``: a code that equal sets of labels share; -1 for none."""
    numbers: dict[tuple[str, ...], int] = {}
    return np.array([numbers.setdefault(several, len(numbers)) if several else -1 for several in labels], np.int64)


def judge_label_sets(predictions: npt.NDArray[np.float32], given: csr_array, sets: Iterable[list[Part]] = ()) -> pd.DataFrame:
    """Judge every image's set of labels with cleanlab's multi-label score.

    If copies have different labels, at least one is wrong about each class in which they differ, and the copies vote: the posterior combines the
    prediction with how often the class is wrongly given and wrongly left out (Dawid & Skene 1979, one class at a time).

    Args:
        predictions: float ``[n, c]`` out-of-sample probability that an image shows a class; NaN rows for no prediction. Read in blocks.
        given: bool ``[n, c]`` given labels; a row without any is not judged.
        sets: duplicate sets whose copies have different labels, as `audit.labels.conflicts.disagreeing_duplicate_sets` yields them.

    Returns:
        Columns of ``audit.tables.LABEL_QUALITY``. ``given`` is -1; ``predicted`` the most probable class; ``given_probability`` the smallest of the
        given labels'; ``alternative`` the class that contradicts the given labels most, missing or wrongly given; ``probability_wrong`` the
        probability that this class is wrongly given or left out; ``score`` 1 - cleanlab's label quality, an exponential moving average over the
        image's classes, and at least ``probability_wrong`` if copies differ.
    """
    n, classes = given.shape
    predicted, alternative = np.full(n, -1, np.int32), np.full(n, -1, np.int32)
    top, own, wrong, score = (np.full(n, np.nan, np.float32) for _ in range(4))
    seen = _Seen(classes)
    for every in blocks(np.arange(n), classes):
        block = np.asarray(predictions[every], dtype=np.float32)
        finite = np.isfinite(block[:, 0]) if classes else np.zeros(len(block), bool)
        rows = every[finite]
        predicted[rows], top[rows] = block[finite].argmax(1), block[finite].max(1)
        judged = finite & (np.diff(given.indptr)[every] > 0)
        rows, block = every[judged], block[judged]
        if not len(rows):
            continue
        labelled = given[rows].toarray()
        seen.add(block, labelled)
        own[rows] = np.where(labelled, block, np.inf).min(1)
        alternative[rows], wrong[rows], score[rows] = _doubts(block, labelled)
    for parts in sets:
        differing, shown = _what_copies_show(predictions, given, parts, seen)
        for at in blocks(np.arange(len(shown)), classes):
            rows = parts[-1].rows[at]
            block, labelled = np.array(predictions[rows], dtype=np.float32), given[rows].toarray()
            block = np.where(np.isfinite(block), block, labelled)
            block[:, differing] = shown[at]
            alternative[rows], wrong[rows], score[rows] = _doubts(block, labelled)
            score[rows] = np.fmax(score[rows], wrong[rows])
    return pd.DataFrame(
        {
            "given": np.full(n, -1, np.int32),
            "predicted": predicted,
            "predicted_probability": top,
            "given_probability": own,
            "alternative": alternative,
            "alternative_probability": np.full(n, np.nan, np.float32),
            "probability_wrong": wrong,
            "probability_low": np.full(n, np.nan, np.float32),
            "probability_high": np.full(n, np.nan, np.float32),
            "score": score,
        }
    )


def _doubts(
    block: npt.NDArray[np.float32], labelled: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return each row's most doubtful class, the probability that it is wrongly given or left out, and the score; ``[m]`` each."""
    from cleanlab.multilabel_classification.rank import get_label_quality_scores

    doubt = np.where(labelled, 1 - block, block)
    worst, wrong = doubt.argmax(1), doubt.max(1)
    if block.shape[1] < 2:
        return worst, wrong, wrong
    labels = [np.flatnonzero(row).tolist() for row in labelled]
    quality = get_label_quality_scores(labels, block, aggregator_kwargs={"method": "exponential_moving_average", "alpha": FORGETTING})
    return worst, wrong, np.clip(1 - quality, 0, 1).astype(np.float32)


class _Seen:
    """Counts of how often each class is given where it is predicted, and where it is not."""

    def __init__(self, classes: int) -> None:
        self.given, self.left_out = np.full((2, classes), PSEUDO_COUNT / 2), np.full((2, classes), PSEUDO_COUNT / 2)  # [shown or not, c]

    def add(self, block: npt.NDArray[np.float32], labelled: npt.NDArray[np.bool_]) -> None:
        """Count some rows, ``[m, c]`` each."""
        shown, total = (block * labelled).sum(0, dtype=np.float64), block.sum(0, dtype=np.float64)
        images = labelled.sum(0)
        self.given += [shown, images - shown]
        self.left_out += [total - shown, len(block) - images - (total - shown)]

    def votes(self, classes: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return by how much a copy with the class raises its log odds, at least 0, and a copy without it changes them, at most 0."""
        given, left_out = self.given[:, classes], self.left_out[:, classes]
        rate = given / (given + left_out)
        more, less = np.log(rate[0] / rate[1]), np.log((1 - rate[0]) / (1 - rate[1]))
        return VOTE_WEIGHT * np.maximum(more, 0), VOTE_WEIGHT * np.minimum(less, 0)


def _what_copies_show(
    predictions: npt.NDArray[np.float32], given: csr_array, parts: list[Part], seen: _Seen
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the classes in which the copies of a duplicate set differ, ``[m]``, and the probability that each copy shows them, ``[k, m]``."""
    rows = parts[-1].rows
    some = given[rows]
    count = np.bincount(some.indices, minlength=given.shape[1])
    classes = np.flatnonzero((count > 0) & (count < len(rows)))
    labelled = some[:, classes].toarray()
    alone = np.asarray(predictions[rows[:, None], classes], dtype=np.float64)
    known = np.isfinite(alone[:, 0])
    alone[~known] = labelled[~known]  # without a prediction the given labels are not contradicted
    shown, (more, less) = alone.copy(), seen.votes(classes)
    for part in parts:
        at = np.searchsorted(rows, part.rows)
        votes = labelled[at].sum(0)
        split = np.flatnonzero((votes > 0) & (votes < len(at)))
        heard = at[known[at]]
        prior = np.clip(alone[heard[:, None], split].mean(0), 1e-6, 1 - 1e-6) if len(heard) else np.full(len(split), 0.5)
        logits = np.log(prior / (1 - prior)) + (votes * more + (len(at) - votes) * less)[split]
        place = np.ix_(at, split)
        shown[place] += part.weight * (sigmoid(logits) - alone[place])
    return classes, shown


def corrected(
    prediction: npt.NDArray[np.float32], given: npt.NDArray[np.bool_], sure: float
) -> tuple[str, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the corrected labels of one image.

    Args:
        prediction: ``[c]`` probability of each class.
        given: ``[c]`` the given labels.
        sure: probability from which a class counts as wrongly given, or wrongly left out.

    Returns:
        The verdict, the labels that fit (given ones that stay, then missing ones, most probable first), and the missing ones among them.
    """
    missing = np.flatnonzero(~given & (prediction >= sure))
    missing = missing[np.argsort(-prediction[missing], kind="stable")]
    stay = np.flatnonzero(given & (1 - prediction < sure))
    fitting = np.concatenate([stay, missing])
    if not len(fitting):
        return "unclear", fitting, missing
    return "also_valid" if len(stay) == given.sum() else "wrong", fitting, missing
