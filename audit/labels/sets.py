"""Images with several labels each: which labels they carry, and which of them are doubtful or missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from audit.io.blocks import blocks
from audit.labels.noise import PSEUDO_COUNT, TEMPER

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt
    from scipy.sparse import csr_array

    from audit.labels.conflicts import Part

FORGETTING = 0.8
"""Of cleanlab's exponential moving average over an image's classes, its own default: the most doubtful class counts most, but not alone."""


def sets_of_labels(samples: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return each sample's labels, sorted and each once, from ``label`` or ``labels``; empty where it has none."""
    found: list[tuple[str, ...]] = []
    for one, several in zip(samples["label"], samples["labels"], strict=True):
        if isinstance(one, str):
            found.append((one,))
        else:
            found.append(tuple(sorted({name for name in several if isinstance(name, str)})) if _is_list(several) else ())
    return found


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple | np.ndarray)


def membership(labels: Iterable[tuple[str, ...]], classes: list[str]) -> csr_array:
    """Return which labels each image carries, bool ``[n, c]``; labels that no column knows are left out."""
    from scipy.sparse import csr_array

    place = {name: at for at, name in enumerate(classes)}
    columns, starts = [], [0]
    for several in labels:
        columns += [place[name] for name in several if name in place]
        starts.append(len(columns))
    return csr_array((np.ones(len(columns), bool), np.array(columns, np.int64), np.array(starts, np.int64)), shape=(len(starts) - 1, len(classes)))


def set_codes(labels: list[tuple[str, ...]]) -> npt.NDArray[np.int64]:
    """Return int64 ``[n]`` a number that equal sets of labels share; -1 where there is none."""
    numbers: dict[tuple[str, ...], int] = {}
    return np.array([numbers.setdefault(several, len(numbers)) if several else -1 for several in labels], np.int64)


def judge_label_sets(predictions: npt.NDArray[np.float32], given: csr_array, pictures: Iterable[list[Part]] = ()) -> pd.DataFrame:
    """Judge every image's set of labels with cleanlab's multi-label score.

    Of copies with different sets at least one is wrong about each class in which they differ. There the copies vote: with what is predicted, and how
    often the class is given where it should not be and left out where it should not be, the posterior says which of them are wrong (Dawid & Skene
    1979, one class at a time).

    Args:
        predictions: float ``[n, c]`` out-of-sample probability that an image shows a class; NaN rows where there is none. Read in blocks.
        given: bool ``[n, c]``; a row without any label is not judged.
        pictures: those whose copies carry different sets, as `audit.labels.conflicts.disagreeing_pictures` yields them.

    Returns:
        Columns of ``audit.tables.LABEL_QUALITY``. ``given`` is -1; ``predicted`` the most probable class; ``given_probability`` the least of the
        given labels'; ``alternative`` the class that most contradicts the given set, be it missing or too much; ``probability_wrong`` the
        probability that this class is wrongly given or left out; ``score`` 1 - cleanlab's label quality, an exponential moving average over the
        image's classes, and at least ``probability_wrong`` where copies differ.
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
        carried = given[rows].toarray()
        seen.add(block, carried)
        own[rows] = np.where(carried, block, np.inf).min(1)
        alternative[rows], wrong[rows], score[rows] = _doubts(block, carried)
    for parts in pictures:
        differing, shown = _what_copies_show(predictions, given, parts, seen)
        for at in blocks(np.arange(len(shown)), classes):
            rows = parts[-1].rows[at]
            block, carried = np.array(predictions[rows], dtype=np.float32), given[rows].toarray()
            block = np.where(np.isfinite(block), block, carried)
            block[:, differing] = shown[at]
            alternative[rows], wrong[rows], score[rows] = _doubts(block, carried)
            score[rows] = np.fmax(score[rows], wrong[rows])
    return pd.DataFrame(
        {
            "given": np.full(n, -1, np.int32),
            "predicted": predicted,
            "predicted_probability": top,
            "given_probability": own,
            "alternative": alternative,
            "probability_wrong": wrong,
            "score": score,
        }
    )


def _doubts(
    block: npt.NDArray[np.float32], carried: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return each row's most doubtful class, how probable it is that it is wrongly given or left out, and the score; ``[m]`` each."""
    from cleanlab.multilabel_classification.rank import get_label_quality_scores

    doubt = np.where(carried, 1 - block, block)
    worst, wrong = doubt.argmax(1), doubt.max(1)
    if block.shape[1] < 2:
        return worst, wrong, wrong
    labels = [np.flatnonzero(row).tolist() for row in carried]
    quality = get_label_quality_scores(labels, block, aggregator_kwargs={"method": "exponential_moving_average", "alpha": FORGETTING})
    return worst, wrong, np.clip(1 - quality, 0, 1).astype(np.float32)


class _Seen:
    """How often each class is given where it is predicted, and where it is not."""

    def __init__(self, classes: int) -> None:
        self.given, self.left_out = np.full((2, classes), PSEUDO_COUNT / 2), np.full((2, classes), PSEUDO_COUNT / 2)  # [shown or not, c]

    def add(self, block: npt.NDArray[np.float32], carried: npt.NDArray[np.bool_]) -> None:
        """Count some rows, ``[m, c]`` each."""
        shown, total = (block * carried).sum(0, dtype=np.float64), block.sum(0, dtype=np.float64)
        images = carried.sum(0)
        self.given += [shown, images - shown]
        self.left_out += [total - shown, len(block) - images - (total - shown)]

    def votes(self, classes: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return by how much a copy that carries a class raises its log odds, and one that does not lowers them; never the other way round."""
        given, left_out = self.given[:, classes], self.left_out[:, classes]
        rate = given / (given + left_out)
        more, less = np.log(rate[0] / rate[1]), np.log((1 - rate[0]) / (1 - rate[1]))
        return TEMPER * np.maximum(more, 0), TEMPER * np.minimum(less, 0)


def _what_copies_show(
    predictions: npt.NDArray[np.float32], given: csr_array, parts: list[Part], seen: _Seen
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the classes in which the copies of a picture differ, ``[m]``, and how probable it is that each copy shows them, ``[k, m]``."""
    rows = parts[-1].rows
    some = given[rows]
    count = np.bincount(some.indices, minlength=given.shape[1])
    classes = np.flatnonzero((count > 0) & (count < len(rows)))
    carried = some[:, classes].toarray()
    alone = np.asarray(predictions[rows[:, None], classes], dtype=np.float64)
    known = np.isfinite(alone[:, 0])
    alone[~known] = carried[~known]  # nothing is said against them
    shown, (more, less) = alone.copy(), seen.votes(classes)
    for part in parts:
        at = np.searchsorted(rows, part.rows)
        votes = carried[at].sum(0)
        split = np.flatnonzero((votes > 0) & (votes < len(at)))
        heard = at[known[at]]
        prior = np.clip(alone[heard[:, None], split].mean(0), 1e-6, 1 - 1e-6) if len(heard) else np.full(len(split), 0.5)
        logits = np.log(prior / (1 - prior)) + (votes * more + (len(at) - votes) * less)[split]
        place = np.ix_(at, split)
        shown[place] += part.weight * (1 / (1 + np.exp(-np.clip(logits, -30, 30))) - alone[place])
    return classes, shown


def corrected(
    prediction: npt.NDArray[np.float32], carried: npt.NDArray[np.bool_], sure: float
) -> tuple[str, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Say what is wrong with one image's labels.

    Args:
        prediction: ``[c]`` probability of each class.
        carried: ``[c]`` the given labels.
        sure: a class is wrongly given, or left out, from this probability.

    Returns:
        The verdict, the labels that fit (given ones that stay, then missing ones, the likeliest first), and those of them that are missing.
    """
    missing = np.flatnonzero(~carried & (prediction >= sure))
    missing = missing[np.argsort(-prediction[missing], kind="stable")]
    stay = np.flatnonzero(carried & (1 - prediction < sure))
    fitting = np.concatenate([stay, missing])
    if not len(fitting):
        return "unclear", fitting, missing
    return "also_valid" if len(stay) == carried.sum() else "wrong", fitting, missing
