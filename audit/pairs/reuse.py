"""What an earlier scan learned of pairs of images, by their content: the evidence of those that look alike, and which do not look alike at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from audit.errors import RunError
from audit.io.artifacts import open_array, read_arrays, replacing, write_array
from audit.pairs.verification import Evidence, concatenated

Digests = npt.NDArray[np.uint64]

_MIX = np.uint64(0x9E3779B97F4A7C15)
_EVIDENCE, _UNLIKE = "state/verified.npz", "state/unlike.npy"
FILES = (_EVIDENCE, _UNLIKE)
"""Of a run directory."""


def digests(first: Digests, second: Digests) -> Digests:
    """Return one number per pair of content ids, uint64; ids are parts of cryptographic digests already, so a product mixes them well enough."""
    with np.errstate(over="ignore"):
        return np.asarray(first * _MIX + second, dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class KnownPairs:
    """Pairs that need no second look."""

    alike: Digests = field(default_factory=lambda: np.zeros(0, np.uint64))
    """``[m]`` sorted, of pairs that look alike."""
    evidence: Evidence = field(default_factory=lambda: concatenated([]))
    """``[m]`` theirs."""
    unlike: Digests = field(default_factory=lambda: np.zeros(0, np.uint64))
    """Sorted, of pairs that do not; 8 bytes each, may be memory-mapped."""

    def find(self, pairs: Digests) -> npt.NDArray[np.intp]:
        """Return where pairs stand in ``evidence``; -1 where they are not known to look alike."""
        at = _place(self.alike, pairs)
        return np.where(_is_there(self.alike, at, pairs), at, -1)

    def are_unlike(self, pairs: Digests) -> npt.NDArray[np.bool_]:
        """Return which pairs are known not to look alike."""
        return _is_there(self.unlike, _place(self.unlike, pairs), pairs)

    def save(self, run: Path) -> None:
        """Write `FILES`."""
        names = type(self.evidence).__dataclass_fields__
        (run / _EVIDENCE).parent.mkdir(exist_ok=True)
        with replacing(run / _EVIDENCE) as file:
            np.savez(file, allow_pickle=False, alike=self.alike, **{name: getattr(self.evidence, name) for name in names})
        write_array(run / _UNLIKE, self.unlike)


def remember(pairs: Digests, evidence: Evidence, unlike: Digests) -> KnownPairs:
    """Sort what was learned; pairs may come twice."""
    alike, at = np.unique(pairs, return_index=True)
    return KnownPairs(alike, evidence.take(at), np.unique(unlike))


def load(run: Path) -> KnownPairs:
    """Read what `KnownPairs.save` wrote; nothing is known where a file is missing or damaged: it only saves time."""
    try:
        stored = read_arrays(run / _EVIDENCE, "alike", *Evidence.__dataclass_fields__)
        evidence = Evidence(**{name: stored[name] for name in Evidence.__dataclass_fields__})
        return KnownPairs(stored["alike"], evidence, open_array(run / _UNLIKE))
    except RunError:
        return KnownPairs()


def _place(known: Digests, pairs: Digests) -> npt.NDArray[np.intp]:
    return np.minimum(np.searchsorted(known, pairs), max(len(known) - 1, 0))


def _is_there(known: Digests, at: npt.NDArray[np.intp], pairs: Digests) -> npt.NDArray[np.bool_]:
    return np.asarray(known[at] == pairs) if len(known) else np.zeros(len(pairs), bool)
