"""One image for each picture: copies tell no more than one of them, and counted as independent they make certain what is chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import pandas as pd


def one_per_duplicate_set(samples: pd.DataFrame, pictures: npt.NDArray[np.int64], within: Sequence[str] = ("label",)) -> npt.NDArray[np.bool_]:
    """Return ``[n]`` which images stand for their picture: the copy with the smallest content id, whatever the order of rows.

    Args:
        samples: columns ``content_id``, ``sample_id`` and those of ``within``, of the images to choose from.
        pictures: ``[n]`` a number that copies of one picture share, see ``audit.pairs.duplicate_sets``.
        within: columns; a picture counts once for each of their values, as one that lies in two splits belongs to both.
    """
    stands = np.bincount(pictures)[pictures] == 1 if len(pictures) else np.zeros(0, bool)
    copies = np.flatnonzero(~stands)
    table = samples[[*within, "content_id", "sample_id"]].iloc[copies].assign(picture=pictures[copies], place=copies)
    stands[table.sort_values(["content_id", "sample_id"]).drop_duplicates(["picture", *within])["place"]] = True
    return stands
