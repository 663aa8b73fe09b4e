"""Decide once per dataset how deep values are scaled to 8 bits, from a few images: all are then scaled the same way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audit.images.decode import deep_values
from audit.images.deep import window_of
from audit.sources.base import Source
from audit.sources.storage.names import extension
from audit.sources.storage.problems import Problem

_DEEP = frozenset(".png .tif .tiff .pgm .pnm .pfm .jp2 .exr .hdr .dcm .dicom".split())  # noqa: SIM905
"""Extensions of formats that may have more than 8 bits per channel."""

_IMAGES = 64
"""Images that are read, evenly spaced in the listing."""

_ENOUGH = 8
"""If none of so many is deep, the others are not read."""


def survey_ranges(source: Source, listing: pa.Table, max_pixels: int) -> dict[str, tuple[float, float]]:
    """Return the values that become black and white, for each mode of deep images; empty for a dataset of 8 bits.

    Args:
        source: the dataset.
        listing: columns of ``audit.tables.LISTING``; a sample without an extension may be of any format.
        max_pixels: larger images are not decoded.
    """
    names = listing["sample_id"].to_pylist()
    rows = [row for row, name in enumerate(names) if (ending := extension(name)) in _DEEP or ending == "(no extension)"]
    chosen = [rows[at] for at in sorted(set(np.linspace(0, len(rows) - 1, min(len(rows), _IMAGES)).astype(int).tolist()))] if rows else []
    # Spread the first few over the dataset, since formats often change from class to class.
    order = [*chosen[:: max(len(chosen) // _ENOUGH, 1)], *chosen]
    values: dict[str, list[npt.NDArray[np.float64]]] = defaultdict(list)
    floats: dict[str, bool] = {}
    for number, row in enumerate(dict.fromkeys(order)):
        if number == _ENOUGH and not values:
            break
        try:
            found = deep_values(source.read(listing["source_ref"][row].as_py()), max_pixels)
        except Exception:  # noqa: BLE001, S112  storage libraries raise their own types; ingest reports the image
            continue
        if found is not None:
            mode, is_float, some = found
            values[mode].append(some)
            floats[mode] = floats.get(mode, False) or is_float
    return {mode: window_of(some, is_float=floats[mode]) for mode, some in sorted(values.items())}


def of_ranges(ranges: Mapping[str, tuple[float, float]]) -> Iterator[Problem]:
    """Yield a problem that says how deep values are scaled."""
    for mode, (low, high) in ranges.items():
        bands = f", bands 1 to 3 of {mode.partition(' ')[0]}" if " bands" in mode else ""
        problem = f"images of mode {mode} are scaled to 8 bits: {low:g} becomes black and {high:g} white, in every image{bands}"
        hint = "other loaders may scale them differently; store them as 8 bits to be sure"
        evidence = {"mode": mode, "low": low, "high": high}
        yield Problem(kind="scaled_values", severity="info", problem=problem, hint=hint, evidence=evidence)
