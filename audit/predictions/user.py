"""Load predictions supplied by the user: read, put into row order, and validated."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from audit.errors import AuditError
from audit.io.artifacts import release
from audit.io.blocks import blocks
from audit.predictions.files import ID_COLUMN, array_blocks, shape_of, table_blocks, table_columns
from audit.predictions.out_of_sample import Predictions

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from audit.predictions.files import Block

KINDS = (".npy", ".parquet", ".csv")
"""Supported file types."""

_SUM_TOLERANCE = 0.01
"""Tolerance of row sums around 1: float16 with 1,000 classes stays below."""

_IN_SAMPLE_AGREEMENT = 0.995
"""Agreement with the labels from which a confident model has probably been trained on them: on CIFAR-10's test images even a network of
state-of-the-art accuracy agrees less, and most datasets have more label errors than that."""

_OTHER_CLASSES = 0.01
"""If a file has classes that the dataset lacks, a row needs this much probability on the dataset's classes to be used."""


def load_predictions(
    path: str | Path,
    sample_ids: Sequence[str],
    classes: Sequence[str],
    labels: npt.NDArray[np.integer] | None = None,
    *,
    several: bool = False,
    into: npt.NDArray[np.float32] | None = None,
) -> Predictions:
    """Read class probabilities from ``.npy`` (row order), Parquet or CSV (by a column ``sample_id``, or in row order without one).

    Reads blocks of 8 million cells, for tables of at least 1,024 rows: needs some hundred megabytes besides the result.

    Args:
        path: the file. A table has one column per class, named after it, in any order; an array has its columns in the order of ``classes``.
        sample_ids: sample ids of the dataset, in row order.
        classes: classes of the dataset, in column order.
        labels: int ``[n]`` given class codes, -1 = none; used to warn about in-sample predictions and permuted columns.
        several: images have several labels, so that rows need not sum to 1.
        into: float32 ``[n, c]`` output array, such as a memory-mapped file; None for a new array.

    Returns:
        float32 ``[n, c]``; NaN rows for samples without a row, zeros for classes without a column. The record contains ``warnings`` and
        ``unknown_classes``, the classes without a column.

    Raises:
        AuditError: the file cannot be read, its shape or columns do not match, or values are not probabilities. ``where`` is the file and row.
    """
    file = Path(path)
    refuse_predictions(file)
    warnings: list[str] = []
    unknown: list[str] = []
    if file.suffix == ".npy":
        read, extra = array_blocks(file, len(sample_ids), list(classes)), False
    else:
        columns, extra = table_columns(file, list(classes), warnings, unknown)
        read = table_blocks(file, columns, sample_ids, classes, warnings)
    found = np.empty((len(sample_ids), len(classes)), np.float32) if into is None else into
    missing = np.ones(len(sample_ids), bool)
    worst, outside = 0.0, 0
    for block in read:
        rows, off, lost = _probabilities(block, several=several, extra=extra)
        found[block.rows] = rows
        missing[block.rows] = np.isnan(rows[:, :1]).any(1)
        worst, outside = max(worst, off), outside + lost
        release(found)
    for part in blocks(np.flatnonzero(missing), len(classes)):
        found[part] = np.nan
        release(found)
    covered = int((~missing).sum()) if len(classes) else 0
    if worst > _SUM_TOLERANCE and not extra:
        warnings.append(f"Row sums of {file.name} differ from 1 by up to {worst:.2g}; the rows were rescaled.")
    if outside:
        warnings.append(f"{outside} rows of {file.name} have almost no probability on the dataset's classes and are ignored.")
    if lost_rows := len(sample_ids) - covered - outside:
        warnings.append(f"{lost_rows} of {len(sample_ids)} samples have no prediction in {file.name} and are not judged.")
    if labels is not None:
        warnings += _in_sample(found, labels)
    return Predictions(found, {"source": file.name, "covered": covered, "unknown_classes": unknown, "warnings": warnings})


def row_count(path: str | Path) -> int:
    """Return the number of rows of a file in row order; 0 for a table with sample ids. Raises like `load_predictions`."""
    file = Path(path)
    refuse_predictions(file)
    if file.suffix == ".npy":
        try:
            return len(np.load(file, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError, EOFError, TypeError) as error:
            raise AuditError(file, f"not a NumPy array: {error}", "save it with numpy.save, without objects") from None
    names, rows = shape_of(file)
    return 0 if ID_COLUMN in names else rows


def refuse_predictions(path: str | Path) -> None:
    """Raise AuditError if the file does not exist or has an unsupported type; does not read it."""
    file = Path(path)
    if not file.is_file():
        problem = "is a folder" if file.is_dir() else "no such file"
        raise AuditError(file, problem, "pass a .npy, .parquet or .csv file of class probabilities")
    if file.suffix not in KINDS:
        raise AuditError(file, f"unknown file type {file.suffix!r}", f"use {', '.join(KINDS)}")


def _probabilities(block: Block, *, several: bool, extra: bool) -> tuple[npt.NDArray[np.float32], float, int]:
    """Validate and normalise some rows; return them, the largest deviation of a sum from 1, and the number of rows without the dataset's classes."""
    values = np.asarray(block.values, dtype=np.float32)
    nan = np.isnan(values)
    empty = nan.all(1)
    if (bad := nan.any(1) & ~empty).any():
        raise AuditError(block.where(int(bad.argmax())), "some classes are NaN, others are not", "fill in every class, or omit the row")
    within = (values >= -1e-6) & (values <= 1 + 1e-3)
    if (bad := ~within.all(1) & ~empty).any():
        row = int(bad.argmax())
        value = float(values[row][~within[row]][0])
        raise AuditError(block.where(row), f"{value:g} is not a probability", "pass probabilities, not logits: apply softmax first")
    values = np.clip(values, 0, 1)
    if several:
        return values, 0.0, 0
    total = values.sum(1)
    nothing = (total < _OTHER_CLASSES) & ~empty if extra else np.zeros(len(values), bool)
    off = np.where(empty | nothing, 0, np.maximum(total - 1, 0) if extra else np.abs(total - 1))
    if (off > 0.5).any():
        row = int((off > 0.5).argmax())
        raise AuditError(block.where(row), f"sums to {total[row]:g}, not 1", "pass a probability for each class")
    values[nothing] = np.nan
    values /= np.where(empty | nothing, 1, total)[:, None]
    return values, float(off.max(initial=0)), int(nothing.sum())


def _in_sample(probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.integer]) -> list[str]:
    """Return a warning if predictions look in-sample, or their columns permuted."""
    classes = probabilities.shape[1]
    pairs, sure = [np.empty((0, 2), np.int64)], 0.0
    for part in blocks(np.flatnonzero(labels >= 0), classes) if classes else ():
        block = np.asarray(probabilities[part])
        finite = np.isfinite(block[:, 0])
        block, given = block[finite], labels[part][finite].astype(np.int64)
        pairs.append(np.column_stack([block.argmax(1), given]))
        sure += float(block[np.arange(len(given)), given].sum(dtype=np.float64))
        release(probabilities)
    predicted, given = np.concatenate(pairs).T
    if len(given) < 50:
        return []
    agreement, confidence = float((predicted == given).mean()), sure / len(given)
    if agreement >= _IN_SAMPLE_AGREEMENT and confidence >= 0.98:
        seen = f"The predictions agree with {agreement:.1%} of the labels at {confidence:.1%} mean confidence: "
        seen += "the model was probably trained on them. In-sample predictions hide label errors; "
        return [seen + "pass out-of-sample predictions (cross-validation)."]
    # With permuted columns a good model agrees with few labels, but each column still corresponds to one label.
    cells, counts = np.unique(predicted * classes + given, return_counts=True)
    best = np.zeros(classes, np.int64)
    np.maximum.at(best, cells // classes, counts)
    apart = best.sum() / len(given)
    if agreement < 0.5 / classes or (agreement < apart / 2 and apart > 0.3 and len(given) >= 10 * classes):
        other = f"The predictions agree with {agreement:.1%} of the labels, but would with {apart:.1%} if the columns were reordered. "
        return [other + "Check that the columns are in the order of the classes."]
    return []
