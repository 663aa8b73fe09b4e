"""Images with several labels each: which labels they carry, and which of them are doubtful or missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt
    from scipy.sparse import csr_array

_ROWS_AT_ONCE = 65_536

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


def judge_label_sets(predictions: npt.NDArray[np.float32], given: csr_array, copies: dict[int, dict[int, float]] | None = None) -> pd.DataFrame:
    """Judge every image's set of labels with cleanlab's multi-label score.

    Args:
        predictions: float ``[n, c]`` out-of-sample probability that an image shows a class; NaN rows where there is none. Read in blocks.
        given: bool ``[n, c]``; a row without any label is not judged.
        copies: row -> verified copy with another set of labels -> how certain the pair is, 0..1.

    Returns:
        Columns of ``audit.tables.LABEL_QUALITY``. ``given`` is -1; ``predicted`` the most probable class; ``given_probability`` the least of the
        given labels'; ``alternative`` the class that most contradicts the given set, be it missing or too much; ``probability_wrong`` the
        probability that this class is wrongly given or left out; ``score`` 1 - cleanlab's label quality, an exponential moving average over the
        image's classes.
    """
    from cleanlab.multilabel_classification.rank import get_label_quality_scores

    n = given.shape[0]
    predicted, alternative = np.full(n, -1, np.int32), np.full(n, -1, np.int32)
    top, own, wrong, score = (np.full(n, np.nan, np.float32) for _ in range(4))
    for start in range(0, n, max(1, min(_ROWS_AT_ONCE, 20_000_000 // max(given.shape[1], 1)))):
        stop = min(n, start + max(1, min(_ROWS_AT_ONCE, 20_000_000 // max(given.shape[1], 1))))
        block = np.asarray(predictions[start:stop], dtype=np.float32)
        finite = np.isfinite(block[:, 0]) if block.shape[1] else np.zeros(len(block), bool)
        rows = start + np.flatnonzero(finite)
        predicted[rows], top[rows] = block[finite].argmax(1), block[finite].max(1)
        judged = finite & (np.diff(given.indptr)[start:stop] > 0)
        rows, block = start + np.flatnonzero(judged), block[judged]
        if not len(rows):
            continue
        carried = given[rows].toarray()
        doubt = np.where(carried, 1 - block, block)
        alternative[rows], wrong[rows] = doubt.argmax(1), doubt.max(1)
        own[rows] = np.where(carried, block, np.inf).min(1)
        if block.shape[1] > 1:
            labels = [np.flatnonzero(row).tolist() for row in carried]
            quality = get_label_quality_scores(labels, block, aggregator_kwargs={"method": "exponential_moving_average", "alpha": FORGETTING})
            score[rows] = np.clip(1 - quality, 0, 1)
        else:
            score[rows] = wrong[rows]
    _fold_in_copies(predictions, given, copies or {}, (alternative, wrong, score))
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


def _fold_in_copies(
    predictions: npt.NDArray[np.float32],
    given: csr_array,
    copies: dict[int, dict[int, float]],
    judged: tuple[npt.NDArray[np.int32], npt.NDArray[np.float32], npt.NDArray[np.float32]],
) -> None:
    """Of two copies with different sets at least one is wrong about a class in which they differ: the prediction only says which one."""
    alternative, wrong, score = judged
    for row, partners in copies.items():
        carried = given[[row]].toarray()[0]
        for partner, certainty in partners.items():
            differ = np.flatnonzero(carried != given[[partner]].toarray()[0])
            present = np.asarray(predictions[row, differ], dtype=np.float32)
            present = np.where(np.isfinite(present), present, 0.5)
            doubt = np.where(carried[differ], 1 - present, present) * certainty
            worst = int(doubt.argmax())
            if not np.isfinite(wrong[row]) or doubt[worst] >= wrong[row]:
                alternative[row], wrong[row] = differ[worst], doubt[worst]
            score[row] = np.fmax(score[row], wrong[row])


def disagreeing_sets(pairs: pd.DataFrame | None, labels: list[tuple[str, ...]], relations: frozenset[str]) -> dict[int, dict[int, float]]:
    """Return row -> verified copy with another set of labels -> how certain the pair is, 0..1."""
    found: dict[int, dict[int, float]] = {}
    if pairs is None:
        return found
    some = pairs[pairs["relation"].isin(relations)]
    for i, j, certainty in zip(some["i"].tolist(), some["j"].tolist(), some["score"].tolist(), strict=True):
        if labels[i] and labels[j] and labels[i] != labels[j]:
            found.setdefault(i, {})[j] = float(np.clip(certainty, 0, 1))
            found.setdefault(j, {})[i] = float(np.clip(certainty, 0, 1))
    return found
