"""What an image is, whatever it is called and wherever it stands: rows of two scans are matched by it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd


def identities(samples: pd.DataFrame) -> npt.NDArray[np.bytes_]:
    """Return what an embedding is made from, per row: the content id, 32 bytes; empty where there is no embedding."""
    ok = (samples["outcome"] == "ok").to_numpy()
    found = np.zeros(len(samples), "S32")
    # Half of the hexadecimal digest is 128 bits: no two pictures share them by accident.
    found[ok] = samples.loc[ok, "content_id"].str.slice(0, 32).to_numpy().astype("S32")
    return found


def ordinal_index(identity: npt.NDArray[np.bytes_]) -> pd.MultiIndex:
    """Make identities unique: the second byte twin of an image is number 1, and so on."""
    series = pd.Series(identity)
    return pd.MultiIndex.from_arrays([series, series.groupby(series).cumcount()])
