"""Choose one image per duplicate set: copies are not independent observations, and would make chance look significant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import pandas as pd


def one_per_duplicate_set(samples: pd.DataFrame, sets: npt.NDArray[np.int64], within: Sequence[str] = ("label",)) -> npt.NDArray[np.bool_]:
    """Return ``[n]``: which images represent their duplicate set, those with the smallest content id, independent of row order.

    Args:
        samples: columns ``content_id``, ``sample_id`` and those of ``within``, of the images to choose from.
        sets: ``[n]`` duplicate set of each image, see ``audit.pairs.duplicate_sets``.
        within: columns; a duplicate set counts once for each of their values, e.g. in each of its splits.
    """
    chosen = np.bincount(sets)[sets] == 1 if len(sets) else np.zeros(0, bool)
    copies = np.flatnonzero(~chosen)
    table = samples[[*within, "content_id", "sample_id"]].iloc[copies].assign(duplicate_set=sets[copies], position=copies)
    chosen[table.sort_values(["content_id", "sample_id"]).drop_duplicates(["duplicate_set", *within])["position"]] = True
    return chosen
