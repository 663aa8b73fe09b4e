"""Predictions a person brings along: read, put into row order, and checked before anything relies on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.errors import AuditError
from audit.predictions import Predictions

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import pandas as pd

ID_COLUMN = "sample_id"

_SUM_TOLERANCE = 0.01
"""Row sums may differ from 1 by this much: float16 with 1,000 classes stays below."""

_IN_SAMPLE_AGREEMENT = 0.995
"""A model that agrees with this share of the labels and is this sure of them has seen them: on CIFAR-10's test images even a network of
state-of-the-art accuracy agrees less, and labels are wrong more often than that in most datasets."""

_ROWS_AT_ONCE = 65_536


def load_predictions(
    path: str | Path, sample_ids: Sequence[str], classes: Sequence[str], labels: npt.NDArray[np.integer] | None = None
) -> Predictions:
    """Read class probabilities from ``.npy`` (row order), Parquet or CSV (by a column ``sample_id``, or in row order without one).

    Args:
        path: the file. Tables have one column per class, named by it, in any order; an array has its columns in the order of ``classes``.
        sample_ids: of the dataset, in row order.
        classes: of the dataset, in column order.
        labels: int ``[n]`` given class codes, -1 = none; with them predictions are checked for having been made in-sample.

    Returns:
        float32 ``[n, c]``; NaN rows for samples the file has no row for. The record's ``warnings`` are sentences for a person.

    Raises:
        AuditError: the file cannot be read, its shape or columns do not fit, or values are no probabilities. The place names file and row.
    """
    file = Path(path)
    if not file.is_file():
        raise AuditError(file, "no such file", "name a .npy, .parquet or .csv file of class probabilities")
    warnings: list[str] = []
    plain = file.suffix == ".npy"
    found = _array(file, len(sample_ids), len(classes)) if plain else _aligned(file, _table(file), sample_ids, classes, warnings)
    probabilities = _probabilities(file, found, warnings)
    if labels is not None:
        warnings += _in_sample(probabilities, labels)
    covered = int(np.isfinite(probabilities[:, 0]).sum()) if probabilities.size else 0
    return Predictions(probabilities, {"source": file.name, "covered": covered, "warnings": warnings})


def _array(file: Path, rows: int, columns: int) -> npt.NDArray[Any]:
    try:
        found = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise AuditError(file, f"not a NumPy array: {error}", "save it with numpy.save, without objects") from None
    if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype.kind not in "fiu":
        shape = getattr(found, "shape", "?")
        raise AuditError(file, f"holds shape {shape}, type {getattr(found, 'dtype', '?')}", f"save numbers of shape ({rows}, {columns})")
    if found.shape != (rows, columns):
        problem = f"has shape {found.shape}, but the dataset has {rows} samples and {columns} classes"
        raise AuditError(file, problem, f"save one row per sample in the order of samples.parquet: shape ({rows}, {columns})")
    return found


def _table(file: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        if file.suffix in (".parquet", ".pq"):
            return pd.read_parquet(file)
        if file.suffix == ".csv":
            return pd.read_csv(file, dtype={ID_COLUMN: str}, keep_default_na=True)
    except (OSError, ValueError) as error:
        raise AuditError(file, f"cannot be read: {str(error).splitlines()[0]}", "save it again as CSV or Parquet") from None
    raise AuditError(file, f"unknown kind {file.suffix!r}", "use .npy, .parquet or .csv")


def _aligned(file: Path, table: pd.DataFrame, sample_ids: Sequence[str], classes: Sequence[str], warnings: list[str]) -> npt.NDArray[np.float32]:
    import pandas as pd

    table = table.rename(columns=str)
    missing = [name for name in classes if name not in table.columns]
    if missing:
        raise AuditError(file, f"has no column for the class {missing[0]!r} ({len(missing)} are missing)", "name one column after each class")
    extra = [name for name in table.columns if name not in {ID_COLUMN, *classes}]
    if extra:
        warnings.append(f"{len(extra)} columns of {file.name} belong to no class of the dataset and are left out: {', '.join(extra[:3])}.")
    wrong = [name for name in classes if not pd.api.types.is_numeric_dtype(table[name])]
    if wrong:
        raise AuditError(file, f"the column {wrong[0]!r} holds text", "write numbers between 0 and 1")
    values = table[list(classes)].to_numpy(np.float32)
    if ID_COLUMN not in table.columns:
        if len(table) != len(sample_ids):
            problem = f"has {len(table)} rows and no column {ID_COLUMN!r}, but the dataset has {len(sample_ids)} samples"
            raise AuditError(file, problem, f"add a column {ID_COLUMN!r}, or write one row per sample in order")
        return values
    ids = pd.Index(table[ID_COLUMN])
    if ids.has_duplicates:
        twice = ids[ids.duplicated()][0]
        row = int(np.flatnonzero(ids == twice)[1]) + 2
        raise AuditError(f"{file}:{row}", f"the sample {twice!r} appears twice", "keep one row per sample")
    place = ids.get_indexer(pd.Index(sample_ids))
    found = np.full((len(sample_ids), len(classes)), np.nan, np.float32)
    found[place >= 0] = values[place[place >= 0]]
    if not (place >= 0).any():
        raise AuditError(
            file, f"names none of the dataset's samples; its first is {ids[0]!r}" if len(ids) else "is empty", "use the ids of samples.parquet"
        )
    if lost := int((place < 0).sum()):
        warnings.append(f"{lost} of {len(sample_ids)} samples have no row in {file.name} and are not judged.")
    return found


def _probabilities(file: Path, found: npt.NDArray[Any], warnings: list[str]) -> npt.NDArray[np.float32]:
    """Check and normalise in blocks; a row is all NaN or all probabilities."""
    probabilities = np.empty(found.shape, np.float32)
    worst = 0.0
    for start in range(0, len(found), _ROWS_AT_ONCE):
        block = np.asarray(found[start : start + _ROWS_AT_ONCE], dtype=np.float32)
        nan = np.isnan(block)
        empty = nan.all(1)
        if (bad := nan.any(1) & ~empty).any():
            raise AuditError(
                f"{file}: row {start + int(bad.argmax())}", "some classes are NaN, others are not", "write all of them, or leave the row out"
            )
        if (bad := ~((block >= -1e-6) & (block <= 1 + 1e-3)).all(1) & ~empty).any():
            row = int(bad.argmax())
            value = float(block[row][~((block[row] >= -1e-6) & (block[row] <= 1 + 1e-3))][0])
            mend = "pass probabilities, not logits: apply softmax first"
            raise AuditError(f"{file}: row {start + row}", f"{value:g} is not a probability", mend)
        total = block.sum(1)
        off = np.where(empty, 0, np.abs(total - 1))
        if (off > 0.5).any():
            row = int(off.argmax())
            raise AuditError(f"{file}: row {start + row}", f"adds up to {total[row]:g}, not to 1", "pass a probability for each class")
        worst = max(worst, float(off.max(initial=0)))
        probabilities[start : start + len(block)] = np.clip(block, 0, None) / np.where(empty, 1, total)[:, None]
    if worst > _SUM_TOLERANCE:
        warnings.append(f"Rows of {file.name} add up to 1 only within {worst:.2g}; they were scaled.")
    return probabilities


def _in_sample(probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.integer]) -> list[str]:
    judged = np.flatnonzero((labels >= 0) & np.isfinite(probabilities[:, 0])) if probabilities.size else np.empty(0, np.int64)
    if len(judged) < 50:
        return []
    warnings = []
    predicted = np.concatenate([probabilities[part].argmax(1) for part in np.array_split(judged, max(1, len(judged) // _ROWS_AT_ONCE))])
    agreement = float((predicted == labels[judged]).mean())
    confidence = float(probabilities[judged, labels[judged]].mean())
    if agreement >= _IN_SAMPLE_AGREEMENT and confidence >= 0.98:
        warnings.append(
            f"The predictions agree with {agreement:.1%} of the labels, {confidence:.1%} sure: as if the model was trained on these very labels. "
            "Label errors then stay hidden; pass out-of-sample predictions (cross-validation)."
        )
    # With the columns in another order, a good model agrees with almost nothing.
    if agreement < 0.5 / probabilities.shape[1]:
        warnings.append(
            f"The predictions agree with {agreement:.1%} of the labels, less than by chance: are the columns in the order of the classes?"
        )
    return warnings
