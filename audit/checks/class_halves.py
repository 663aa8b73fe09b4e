"""Classes that are large enough to be judged, cut into two halves: what one half teaches is measured on the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import numpy.typing as npt


class ClassHalves(NamedTuple):
    """The images of the classes that have enough of them."""

    rows: npt.NDArray[np.int64]
    """``[m]`` rows of samples."""
    named: list[str]
    """The classes, sorted."""
    codes: npt.NDArray[np.int64]
    """``[m]`` place of each image's class in ``named``."""
    half: npt.NDArray[np.bool_]
    """``[m]`` see ``second_half``."""


def class_halves(samples: pd.DataFrame, fewest: int) -> ClassHalves:
    """Return the readable images with one label whose class has so many or more.

    Args:
        samples: columns ``outcome``, ``label`` and ``content_id``.
        fewest: images a class needs.
    """
    judged = np.flatnonzero(((samples["outcome"] == "ok") & samples["label"].notna()).to_numpy(bool))
    labels = samples["label"].iloc[judged]
    sizes = labels.value_counts()
    named = sorted(sizes.index[sizes >= fewest])
    kept = labels.isin(named).to_numpy()
    rows = judged[kept]
    codes = pd.Index(named, dtype=object).get_indexer(labels[kept]).astype(np.int64)
    return ClassHalves(rows, named, codes, second_half(samples["content_id"].iloc[rows]))


def second_half(content_ids: pd.Series[str]) -> npt.NDArray[np.bool_]:
    """Return ``[n]`` which of two halves images belong to: copies of the same bytes share one, whatever the order of rows."""
    return content_ids.str[7].isin(list("13579bdf")).to_numpy(bool)
