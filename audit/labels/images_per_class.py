"""Count images per class; an image with several labels counts in each of its classes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.labels.sets import sets_of_labels

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

_MOST_CLASSES = 20
"""Classes listed, those with most images first."""


def images_of_classes(samples: pd.DataFrame, rows: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Return evidence: ``classes``, the number of classes with such images, and ``images_per_class`` of the largest.

    Args:
        samples: columns ``label`` and ``labels``.
        rows: rows of the images to count.
    """
    one = samples["label"].iloc[rows]
    counts = Counter(one.value_counts().to_dict())
    several = rows[one.isna().to_numpy(bool) & samples["labels"].iloc[rows].notna().to_numpy(bool)]
    counts.update(name for labels in sets_of_labels(samples.iloc[several]) for name in labels)
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], str(entry[0])))
    return {"classes": len(ordered), "images_per_class": {str(name): int(number) for name, number in ordered[:_MOST_CLASSES]}}
