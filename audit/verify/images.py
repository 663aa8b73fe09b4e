"""A run's images in the terms of the papers: side of the split, class, and number in the original order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from audit.verify.datasets import TRAIN, Dataset

if TYPE_CHECKING:
    import numpy.typing as npt

    from audit.run.run import Run


class Unknown(Exception):  # noqa: N818  also the value of a fact
    """The reason why a fact could not be checked."""


@dataclass(frozen=True, slots=True)
class Images:
    """Columns of a run's samples; row *i* is sample *i*."""

    ids: npt.NDArray[np.object_]
    """``[n]`` sample ids."""
    labels: npt.NDArray[np.object_]
    """``[n]`` labels of the run; None for no label."""
    classes: npt.NDArray[np.object_]
    """``[n]`` classes of the dataset; None if the label is not one."""
    train: npt.NDArray[np.bool_]
    held_out: npt.NDArray[np.bool_]
    """``[n]`` images of the split that the papers call val or test; images of other splits are on neither side."""


def images_of(run: Run, dataset: Dataset) -> Images:
    """Return the columns of a run's images that published facts need."""
    samples = run.columns("sample_id", "split", "label")
    given = samples["label"].astype(object).where(samples["label"].notna(), None)
    classes = {label: dataset.class_of(label) for label in given.unique()}
    split = samples["split"].str.lower()
    return Images(
        samples["sample_id"].to_numpy(object),
        given.to_numpy(object),
        np.array([classes[label] for label in given], object),
        split.isin(TRAIN).to_numpy(bool),
        split.isin(dataset.held_out).to_numpy(bool),
    )


def rows_by_number(images: Images, dataset: Dataset, *, held_out: bool) -> dict[int, int]:
    """Map numbers in the dataset's original order to rows, for one side of the split. Raises Unknown if the numbers cannot be trusted."""
    rows = np.flatnonzero(images.held_out if held_out else images.train).tolist()
    side, numbers = ("held-out", dataset.held_out_numbers) if held_out else ("train", dataset.train_numbers)
    if not rows:
        names = ", ".join(sorted(dataset.held_out if held_out else TRAIN))
        raise Unknown(f"the run has no {side} split (named {names})")
    found: dict[int, int] = {}
    for row in rows:
        match = dataset.numbered.search(PurePosixPath(images.ids[row]).stem)
        if match is None:
            continue
        number = int(match[1])
        if number not in numbers:
            raise Unknown(f"{images.ids[row]}: not a valid {side} number; valid numbers are {numbers[0]} to {numbers[-1]}")
        if number in found:
            raise Unknown(f"{images.ids[found[number]]} and {images.ids[row]} have the same number: not the dataset's original order")
        found[number] = row
    if not found:
        raise Unknown(f"no {side} file name contains the image's number in the dataset's original order (see docs/verify.md)")
    return found


def require_fit(rows: list[int], labels: list[str | None], images: Images, least: float) -> None:
    """Raise Unknown if a label file does not describe these images, judged by its labels.

    Args:
        rows: rows of the run that the file lists.
        labels: class of each of them in the file; None if the file has none.
        images: the run's images.
        least: share of the rows, 0..1, whose class must match.
    """
    both = [images.classes[row] == name for row, name in zip(rows, labels, strict=True) if name is not None]
    share = float(np.mean(both)) if both else 1.0
    if share < least:
        raise Unknown(
            f"the file's labels match {share:.0%} of its {len(both):,} images, at least {least:.0%} must match: "
            "the file names do not follow the dataset's order, or the run has other labels"
        )
