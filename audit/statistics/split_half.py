"""Split the classes that are large enough into two halves, to learn on one and measure on the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from audit.pairs.duplicate_sets import duplicate_sets
from audit.statistics.one_per_duplicate_set import one_per_duplicate_set

if TYPE_CHECKING:
    import numpy.typing as npt


class ClassHalves(NamedTuple):
    """The images of the classes with enough duplicate sets."""

    rows: npt.NDArray[np.int64]
    """``[m]`` rows of samples."""
    named: list[str]
    """The classes, sorted."""
    codes: npt.NDArray[np.int64]
    """``[m]`` index of each image's class in ``named``."""
    half: npt.NDArray[np.bool_]
    """``[m]`` half of each image, see ``second_half``."""
    counted: npt.NDArray[np.bool_]
    """``[m]`` one image per duplicate set and class: those that statistics use."""


def class_halves(samples: pd.DataFrame, pairs: pd.DataFrame, fewest: int) -> ClassHalves:
    """Return the readable images with one label whose class has at least ``fewest`` duplicate sets.

    Args:
        samples: columns ``sample_id``, ``outcome``, ``label`` and ``content_id``.
        pairs: columns of ``audit.tables.PAIRS``.
        fewest: duplicate sets a class needs.
    """
    judged = np.flatnonzero(((samples["outcome"] == "ok") & samples["label"].notna()).to_numpy(bool))
    table, sets = samples.iloc[judged], duplicate_sets(pairs, len(samples))[judged]
    counted, half = one_per_duplicate_set(table, sets), second_half(table["content_id"], sets)
    sizes = table["label"][counted].value_counts()
    named = sorted(sizes.index[sizes >= fewest])
    kept = table["label"].isin(named).to_numpy()
    codes = pd.Index(named, dtype=object).get_indexer(table["label"][kept]).astype(np.int64)
    return ClassHalves(judged[kept], named, codes, half[kept], counted[kept])


def second_half(content_ids: pd.Series[str], sets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return ``[n]``: which of two halves each image is in. Copies share a half, independent of row order.

    Args:
        content_ids: ``[n]``; the smallest of a duplicate set decides.
        sets: ``[n]`` duplicate set of each image.
    """
    ids = content_ids.to_numpy(object).copy()
    copies = np.flatnonzero(np.bincount(sets)[sets] > 1) if len(sets) else np.zeros(0, np.int64)
    ids[copies] = pd.Series(ids[copies]).groupby(sets[copies]).transform("min").to_numpy(object)
    return pd.Series(ids, dtype=object).str[7].isin(list("13579bdf")).to_numpy(bool)
