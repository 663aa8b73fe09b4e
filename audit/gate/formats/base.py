"""Which findings a report names, in which order, and where a person looks for them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from audit.gate.gate import Gate


def reported(gate: Gate) -> pd.DataFrame:
    """Return the findings that count: first those that a failed rule counted, then the others, the worst first in either part.

    Returns:
        The columns of `audit.gate.gate.Gate.findings` and ``failed`` (bool).
    """
    counted = {finding for verdict in gate.failed for finding in verdict.findings}
    found = gate.findings[gate.findings["counted"].astype(bool)]
    found = found.assign(failed=found["finding_id"].isin(counted))
    return found.sort_values("failed", ascending=False, kind="stable").reset_index(drop=True)


def subject(sample_id: object, label: object) -> str:
    """Return what a finding is about: its image, else its class, else the dataset."""
    return next((name for name in (sample_id, label) if isinstance(name, str)), "dataset")


def image_path(gate: Gate, sample_id: str) -> str:
    """Return where an image lies as a host shows it: relative to the repository where the dataset is below it, else its own name."""
    if not gate.place or "://" in gate.place:
        return sample_id
    return _below(gate.root, Path(gate.place) / sample_id) or sample_id


def policy_path(gate: Gate) -> str:
    """Return the policy's path, relative to the repository where it lies below it."""
    return _below(gate.root, Path(gate.policy)) or Path(gate.policy).as_posix()


def _below(root: Path, path: Path) -> str | None:
    """Return a path relative to a folder; None where it lies outside. Links are not followed: the name is what people know."""
    whole, top = (Path(os.path.normpath(part.absolute())) for part in (path, root))
    return whole.relative_to(top).as_posix() if whole.is_relative_to(top) else None
