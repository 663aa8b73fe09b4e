"""Reuse measurements of candidate pairs from an earlier scan, by content: the evidence of pairs that look alike, and which pairs do not."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from audit.errors import RunError
from audit.io.artifacts import open_array, read_arrays, replacing, write_array
from audit.pairs.evidence import Evidence, concatenated

Digests = npt.NDArray[np.uint64]

_MIX = np.uint64(0x9E3779B97F4A7C15)
_EVIDENCE, UNLIKE = "state/verified.npz", "state/unlike.npy"
FILES = (_EVIDENCE, UNLIKE)
"""Files in a run directory."""


def digests(first: Digests, second: Digests) -> Digests:
    """Return a uint64 digest per pair of content ids. Ids are parts of cryptographic digests, so a product mixes them well enough."""
    with np.errstate(over="ignore"):
        return np.asarray(first * _MIX + second, dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class KnownPairs:
    """Candidate pairs that are already measured."""

    alike: Digests = field(default_factory=lambda: np.zeros(0, np.uint64))
    """``[m]`` sorted digests of pairs that look alike."""
    evidence: Evidence = field(default_factory=lambda: concatenated([]))
    """``[m]`` evidence of these."""
    unlike: Digests = field(default_factory=lambda: np.zeros(0, np.uint64))
    """Sorted digests of pairs that do not look alike; 8 bytes each, may be memory-mapped."""

    def find(self, pairs: Digests) -> npt.NDArray[np.intp]:
        """Return the index of each pair in ``evidence``; -1 if it is not known to look alike."""
        at = _position(self.alike, pairs)
        return np.where(_contains(self.alike, at, pairs), at, -1)

    def are_unlike(self, pairs: Digests) -> npt.NDArray[np.bool_]:
        """Return which pairs are known not to look alike."""
        return _contains(self.unlike, _position(self.unlike, pairs), pairs)

    def save(self, run: Path) -> None:
        """Write `FILES`."""
        names = type(self.evidence).__dataclass_fields__
        (run / _EVIDENCE).parent.mkdir(exist_ok=True)
        with replacing(run / _EVIDENCE) as file:
            np.savez(file, allow_pickle=False, alike=self.alike, **{name: getattr(self.evidence, name) for name in names})
        write_array(run / UNLIKE, self.unlike)


def remember(pairs: Digests, evidence: Evidence, unlike: Digests) -> KnownPairs:
    """Sort measured pairs for reuse; pairs may occur twice."""
    alike, at = np.unique(pairs, return_index=True)
    return KnownPairs(alike, evidence.take(at), np.unique(unlike))


def load(run: Path) -> KnownPairs:
    """Read what `KnownPairs.save` wrote; return no pairs if a file is missing or corrupt, since they only save time."""
    try:
        stored = read_arrays(run / _EVIDENCE, "alike", *Evidence.__dataclass_fields__)
        evidence = Evidence(**{name: stored[name] for name in Evidence.__dataclass_fields__})
        return KnownPairs(stored["alike"], evidence, open_array(run / UNLIKE))
    except RunError:
        return KnownPairs()


def _position(known: Digests, pairs: Digests) -> npt.NDArray[np.intp]:
    return np.minimum(np.searchsorted(known, pairs), max(len(known) - 1, 0))


def _contains(known: Digests, at: npt.NDArray[np.intp], pairs: Digests) -> npt.NDArray[np.bool_]:
    return np.asarray(known[at] == pairs) if len(known) else np.zeros(len(pairs), bool)
