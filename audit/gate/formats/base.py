"""Which findings a report lists, in which order, and their paths."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from audit.gate.gate import Gate


def reported(gate: Gate) -> pd.DataFrame:
    """Return the findings that count: those of failed rules first, then the others, each part worst first.

    Returns:
        The columns of `audit.gate.gate.Gate.findings` and ``failed`` (bool).
    """
    counted = {finding for verdict in gate.failed for finding in verdict.findings}
    found = gate.findings[gate.findings["counted"].astype(bool)]
    found = found.assign(failed=found["finding_id"].isin(counted))
    return found.sort_values("failed", ascending=False, kind="stable").reset_index(drop=True)


def subject(sample_id: object, label: object) -> str:
    """Return the subject of a finding: its image, else its class, else "dataset"."""
    return next((name for name in (sample_id, label) if isinstance(name, str)), "dataset")


def image_path(gate: Gate, sample_id: str) -> str:
    """Return the path of an image relative to the repository, or its sample id if the dataset is outside."""
    if not gate.location or "://" in gate.location:
        return sample_id
    return _below(gate.root, Path(gate.location) / sample_id) or sample_id


def policy_path(gate: Gate) -> str:
    """Return the path of the policy, relative to the repository if it is inside."""
    return _below(gate.root, Path(gate.policy)) or Path(gate.policy).as_posix()


def _below(root: Path, path: Path) -> str | None:
    """Return a path relative to a folder, or None if it is outside. Symbolic links are not resolved, because people know the name."""
    whole, top = (Path(os.path.normpath(part.absolute())) for part in (path, root))
    return whole.relative_to(top).as_posix() if whole.is_relative_to(top) else None
