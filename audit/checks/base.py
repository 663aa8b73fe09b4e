"""What a check gives back. A check itself is a module: see ``docs/writing-a-check.md``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing worth a person's time. The runner adds the id, the sample's columns and the check's name."""

    kind: str
    score: float
    """0..1, higher = worse."""
    message: str
    """One sentence a person can act on, without the sample's own name at its start."""
    severity: str = "warning"
    """One of ``audit.tables.SEVERITIES``."""
    row: int | None = None
    """The sample it is about; None for a class or the whole dataset."""
    partner: int | None = None
    """The sample it was verified against; part of the finding's identity."""
    group: int | None = None
    """Row of the group's representative."""
    label: str | None = None
    """The class it is about, where ``row`` is None."""
    suggested_label: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """JSON values; the keys are explained on the check's docs page."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a check found: a score for every sample, flagged or not, and the findings."""

    scores: npt.NDArray[np.float32]
    """``[n]`` in [0, 1], higher = worse, NaN = not applicable."""
    findings: Sequence[Finding] = ()
