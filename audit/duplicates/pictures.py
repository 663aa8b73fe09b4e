"""Which images are copies of one picture, so that checks count it once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

COPIES = frozenset({"identical_bytes", "identical_pixels", "re_encoded", "edited_copy"})
"""Relations of one picture to itself; another shot of the same scene is a picture of its own."""


def pictures_of(pairs: pd.DataFrame, n: int) -> npt.NDArray[np.int64]:
    """Return ``[n]`` a number per row that copies of one picture share; other shots of a scene are pictures of their own."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    copies = pairs[pairs["relation"].isin(COPIES)]
    links = coo_array((np.ones(len(copies), bool), (copies["i"].to_numpy(), copies["j"].to_numpy())), shape=(n, n))
    return np.asarray(connected_components(links, directed=False)[1], np.int64)
