"""Which images the last scan reported, by content, label and split: some checks change a report only for a clear reason."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from audit.errors import RunError
from audit.io.artifacts import read_arrays, replacing
from audit.run.identity import old_rows

if TYPE_CHECKING:
    from audit.checks import Result

TABLE = "reported_before"
"""The table of a check that takes earlier reports into account."""


def earlier_reports(
    runs: Iterable[Path | None], samples: pd.DataFrame, images: npt.NDArray[np.bytes_], check: str, key: str
) -> npt.NDArray[np.int8] | None:
    """Return int8 ``[n]``: 1 if the last scan reported an image, 0 if it did not, -1 if the image is new or has another label or split.

    Args:
        runs: run directories; the first that knows the reports counts.
        samples: columns ``label``, ``labels`` and ``split``.
        images: the content of each, as `audit.run.identity.identities` returns it.
        check: the check's name.
        key: digest of what else its reports depend on, such as its options; None is returned if it has changed.
    """
    stored = next(filter(None, (_read(run, check, key) for run in runs if run is not None)), None)
    if stored is None:
        return None
    old = old_rows(stored["images"], images)
    known = np.flatnonzero(old >= 0)
    known = known[stored["given"][old[known]] == _given(samples)[known]]
    found = np.full(len(samples), -1, np.int8)
    found[known] = stored["reported"][old[known]]
    return found


def _read(run: Path, check: str, key: str) -> dict[str, npt.NDArray[Any]] | None:
    try:
        stored = read_arrays(_file(run, check), "images", "given", "reported", "key")
    except RunError:  # the first scan, or one by an older version
        return None
    return stored if str(stored["key"]) == key else None


def store_reports(run: Path, samples: pd.DataFrame, images: npt.NDArray[np.bytes_], check: str, key: str, result: Result) -> None:
    """Write which images a check reported, for the next scan; the other arguments are those of `earlier_reports`.

    Nothing is kept where images could not be reached: the scan that reads them all finds what an undisturbed one does.
    """
    if (samples["outcome"] == "missing").any():
        _file(run, check).unlink(missing_ok=True)
        return
    reported = np.zeros(len(samples), bool)
    reported[[finding.row for finding in result.findings if finding.row is not None]] = True
    path = _file(run, check)
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as file:
        np.savez(file, allow_pickle=False, images=images, given=_given(samples), reported=reported, key=np.array(key))


def _file(run: Path, check: str) -> Path:
    return run / "state" / f"reported-{check}.npz"


def _given(samples: pd.DataFrame) -> npt.NDArray[np.uint64]:
    """Return a digest of each image's labels and split, uint64 ``[n]``."""
    several = samples["labels"].map(lambda labels: "\n".join(sorted(labels)), na_action="ignore")
    label = samples["label"].astype(object).where(several.isna(), several).fillna("")
    codes, names = pd.factorize(label + "\0" + samples["split"].astype(object).fillna(""))
    digests = [int.from_bytes(hashlib.blake2b(str(name).encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") for name in names]
    return np.array(digests, np.uint64)[codes] if len(names) else np.zeros(0, np.uint64)
