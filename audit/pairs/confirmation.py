"""Confirm on the images themselves, in worker processes, which pairs show the same photograph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial

import numpy as np
import numpy.typing as npt

from audit.errors import AuditError
from audit.images.local_features import COMPARED_SIDE, LocalFeatures, local_features
from audit.pairs.details import Details, compare
from audit.pairs.evidence import Evidence, concatenated, nothing
from audit.pairs.registration import Registration, inverse, register
from audit.processes import Processes, available_cpus, in_processes

Rows = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Read = Callable[[str], npt.NDArray[np.uint8] | None]
_Batch = tuple[tuple[str, str, bool], ...]
"""References of two images, and whether the second is mirrored before."""

_AT_ONCE = 64
"""Pairs to a batch, at most; within a batch, each image is read once and takes 0.6 MB."""
_MOST_CORRELATED = 0.995
"""Correlation above which Fisher's z counts rounding."""


class Confirmation:
    """Compares the images of a run, in processes that stay between calls; close it at the end.

    Args:
        read: returns an image, uint8 ``[h, w, 3]``, or None if it can no longer be read; picklable.
        source_refs: one reference for each row of the run.
        workers: number of processes; None uses one per CPU.
    """

    def __init__(self, read: Read, source_refs: Sequence[str], workers: int | None) -> None:
        self._read, self._refs = read, source_refs
        self._count = workers or available_cpus()
        self._processes = Processes(self._count)
        self._refused: frozenset[str] = frozenset()

    def __call__(self, first: Rows, second: Rows, mirrored: npt.NDArray[np.bool_]) -> tuple[Evidence, npt.NDArray[np.bool_]]:
        """Compare pairs of images; an image that crashes its process, or takes too long, counts as one that can no longer be read.

        Args:
            first: ``[m]`` rows.
            second: ``[m]`` rows.
            mirrored: ``[m]`` whether to compare with the mirrored second image.

        Returns:
            The evidence, in order, and which pairs could be read, ``[m]``.

        Raises:
            AuditError: a process crashed, but with no image alone.
        """
        order = np.lexsort((second, first))
        at_once = min(_AT_ONCE, -(-len(first) // self._count)) or 1
        batches = [
            tuple(
                (self._refs[one], self._refs[other], turned)
                for one, other, turned in zip(first[part].tolist(), second[part].tolist(), mirrored[part].tolist(), strict=True)
            )
            for part in (order[start : start + at_once] for start in range(0, len(first), at_once))
        ]
        found: list[tuple[Evidence, npt.NDArray[np.bool_]]] = []
        while len(found) < len(batches):
            try:
                found.extend(self._processes.map(partial(_compare_batch, self._read, self._refused), batches[len(found) :]))
            except BrokenProcessPool:
                self._refuse(batches[len(found) :])
        back = np.argsort(order)
        readable = np.concatenate([np.zeros(0, bool), *(part for _, part in found)])
        return concatenated([part for part, _ in found]).take(back), readable[back]

    def close(self) -> None:
        """End the processes."""
        self._processes.close()

    def _refuse(self, batches: Sequence[_Batch]) -> None:
        """Find the images that end the process that reads them, one at a time, and read them no more."""
        refs = sorted({source_ref for batch in batches for one, other, _ in batch for source_ref in (one, other)} - self._refused)
        before = len(self._refused)
        while refs:
            done = 0
            try:
                for _ in in_processes(partial(_features_of, self._read), refs, 1):
                    done += 1
            except BrokenProcessPool:
                self._refused |= {refs[done]}
                done += 1
            refs = refs[done:]
        if len(self._refused) == before:
            raise AuditError("pairs", "the comparison of two images crashed", "run the same command again to resume")


def compare_images(first: LocalFeatures, second: LocalFeatures, *, mirrored: bool) -> Evidence:
    """Return the evidence of one pair."""
    registration = register(first, second, mirrored=mirrored)
    details = compare(first, second, registration) if registration else None
    return _evidence(first, second, registration, details) if registration and details else nothing(1)


def _compare_batch(read: Read, refused: frozenset[str], batch: _Batch) -> tuple[Evidence, npt.NDArray[np.bool_]]:
    parts, readable = [], []
    known: dict[str, LocalFeatures | None] = dict.fromkeys(refused)
    for one, other, mirrored in batch:
        for source_ref in (one, other):
            if source_ref not in known:
                known[source_ref] = _features_of(read, source_ref)
        sides = known[one], known[other]
        readable.append(all(side is not None for side in sides))
        parts.append(compare_images(sides[0], sides[1], mirrored=mirrored) if sides[0] is not None and sides[1] is not None else nothing(1))
    return concatenated(parts), np.array(readable, bool)


def _features_of(read: Read, source_ref: str) -> LocalFeatures | None:
    pixels = read(source_ref)
    return None if pixels is None else local_features(pixels)


def _evidence(first: LocalFeatures, second: LocalFeatures, registration: Registration, details: Details) -> Evidence:
    z = np.arctanh(np.nan_to_num(details.quartiles).clip(-_MOST_CORRELATED, _MOST_CORRELATED))
    blocks = np.log1p(details.blocks[1])
    measures = [*(z[:, 1] * blocks), z[1, 0] * blocks, np.log1p(registration.inliers)]
    scale = float(np.sqrt(abs(np.linalg.det(details.matrix[:, :2]))))
    coarser = first if scale <= 1 else second

    def number(value: float) -> npt.NDArray[np.float32]:
        return np.array([value], np.float32)

    return Evidence(
        number(details.correlation),
        number(float(np.nan_to_num(details.quartiles[1, 1]))),
        number(details.residual),
        number(details.color_difference),
        number(details.local_difference),
        np.array([registration.mirrored]),
        _in_unit_coordinates(details.matrix, first.gray.shape, second.gray.shape)[None],
        np.array([min(max(coarser.gray.shape), COMPARED_SIDE)], np.int16),
        np.array([measures], np.float32),
        number(details.contradicted),
        number(details.blur),
        np.zeros(1, np.float32),
    )


def _in_unit_coordinates(matrix: Doubles, first: Sequence[int], second: Sequence[int]) -> npt.NDArray[np.float32]:
    """Return the transformation from unit coordinates of the first image to those of the second one; pixel centers are at integers."""
    back = np.vstack([inverse(matrix), [0, 0, 1]])
    pixels = np.array([[first[1], 0, -0.5], [0, first[0], -0.5], [0, 0, 1]])
    unit = np.array([[1 / second[1], 0, 0.5 / second[1]], [0, 1 / second[0], 0.5 / second[0]], [0, 0, 1]])
    return np.asarray((unit @ back @ pixels)[:2], np.float32)


Confirm = Callable[[Rows, Rows, npt.NDArray[np.bool_]], tuple[Evidence, npt.NDArray[np.bool_]]]
