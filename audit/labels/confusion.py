"""Confusion of classes and label quality per class of a finished run, computed from ``label_quality.parquet``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from audit.labels.statistics import confusion_matrix, pairs_of_classes, quality_of_classes

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd
    from scipy.sparse import csr_array

    from audit.run.run import Run


def confusion(run: Run) -> npt.NDArray[np.int64]:
    """Return the confusion matrix of given label (row) and out-of-sample prediction (column), int64 ``[c, c]`` in the order of ``run.classes``.

    Dense, for plotting: 8 MB with 1,000 classes, 4 GB with 22,000.

    Raises:
        RunError: the run has no predictions.
    """
    return np.asarray(_counts(run).toarray(), dtype=np.int64)


def _counts(run: Run) -> csr_array:
    quality = run.label_quality
    return confusion_matrix(quality["given"].to_numpy(), quality["predicted"].to_numpy(), len(run.classes))


def confused_pairs(run: Run, limit: int | None = None, *, min_images: int = 1) -> pd.DataFrame:
    """Return directed pairs of classes, the largest share first, at most ``limit`` of them; see `pairs_of_classes`."""
    return pairs_of_classes(_counts(run), run.classes, min_images=min_images).head(limit if limit is not None else len(run.classes) ** 2)


def class_quality(run: Run) -> pd.DataFrame:
    """Return the label quality of each class, worst first; see `quality_of_classes`."""
    found = quality_of_classes(run.label_quality, run.classes)
    return found.sort_values(["estimated_error_rate", "label"], ascending=[False, True], na_position="last", kind="stable").reset_index(drop=True)
