"""A comparison of two versions as text lines and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from audit.io.console import safe

if TYPE_CHECKING:
    import pandas as pd

    from audit.diff.comparison import Difference
    from audit.diff.sample_changes import SampleChanges

FORMAT_VERSION = 1
"""Incremented when a key of `document` changes its meaning or is removed."""


def document(difference: Difference) -> dict[str, Any]:
    """Return a comparison as JSON values."""
    drift = difference.drift
    return {
        "format_version": FORMAT_VERSION,
        "old": difference.old,
        "new": difference.new,
        "counts": dict(difference.counts),
        "renamed_classes": dict(difference.renamed_classes),
        "renamed_splits": dict(difference.renamed_splits),
        "classes_added": list(difference.classes_added),
        "classes_removed": list(difference.classes_removed),
        "samples": records(difference.samples),
        "findings": [{**row, "evidence": json.loads(row["evidence"])} for row in records(difference.findings)],
        "health": records(difference.health),
        "drift": None if drift is None else {"shift": _number(drift.shift), "old_images": drift.old_images, "new_images": drift.new_images},
        "class_drift": records(difference.class_drift),
        "not_compared": dict(difference.not_compared),
        "warnings": list(difference.warnings),
    }


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a frame's rows as JSON values; missing values are null."""
    plain = frame.astype(object).where(frame.notna(), None)
    return [{str(name): _number(value) for name, value in row.items()} for row in plain.to_dict("records")]


def lines(difference: Difference, *, limit: int) -> Iterator[str]:
    """Yield a comparison as text lines, with at most ``limit`` samples and findings per kind of change; lines below a heading are indented."""
    yield from sample_lines(difference, limit)
    yield from _finding_lines(difference, limit)
    yield from _health_lines(difference.health, limit)
    yield from _drift_lines(difference, limit)
    for warning in difference.warnings:
        yield f"note: {safe(warning)}"


def sample_lines(changes: SampleChanges, limit: int) -> Iterator[str]:
    """Yield the changes of the samples; see `lines`."""
    yield f"samples: {changes.counts['old']:,} -> {changes.counts['new']:,}"
    yield from (f"  {line}" for line in change_lines(changes, limit))


def change_lines(changes: SampleChanges, limit: int, *, unlisted: Collection[str] = ()) -> Iterator[str]:
    """Yield the number of samples per change, then the samples.

    Args:
        changes: changes of the samples.
        limit: maximum number of samples and classes listed per kind of change.
        unlisted: changes (`audit.diff.sample_changes.CHANGES`) that are counted but not listed.
    """
    from audit.diff.sample_changes import CHANGES

    counts = changes.counts
    parts = [f"{counts[change]:,} {change}" for change in CHANGES if counts[change]]
    yield f"{', '.join(parts)}, {counts['unchanged']:,} unchanged" if parts else "no samples changed"
    for what, names in (("class", changes.renamed_classes), ("split", changes.renamed_splits)):
        for before, after in names.items():
            yield f"{what} renamed: {safe(before)} -> {safe(after)}"
    for word, classes in (("added", changes.classes_added), ("removed", changes.classes_removed)):
        if classes:
            yield f"classes {word}: {', '.join(map(safe, classes[:limit]))}{_more(len(classes), limit)}"
    for change in CHANGES:
        if change not in unlisted:
            yield from _samples(changes.samples[changes.samples[change]], change, limit)


def _finding_lines(difference: Difference, limit: int) -> Iterator[str]:
    from audit.diff.comparison import STATES

    states = difference.findings["state"].value_counts()
    yield "findings: " + ", ".join(f"{int(states.get(state, 0)):,} {state}" for state in STATES)
    for state in ("new", "fixed"):
        yield from _findings(difference.findings[difference.findings["state"] == state], state, limit)
    for check, reason in difference.not_compared.items():
        yield f"  not compared: {check}: {safe(reason)}"


def _health_lines(health: pd.DataFrame, limit: int) -> Iterator[str]:
    yield "images with a warning or an error: before -> after"
    for part in ("all", "check"):
        for row in health[health["part"] == part].to_dict("records"):
            yield f"  {safe(row['name']):<20} {_share(row, 'old'):>16} -> {_share(row, 'new')}"
    classes = health[health["part"] == "class"]
    classes = classes.assign(by=(classes["rate_new"].fillna(0) - classes["rate_old"].fillna(0)).abs())
    changed = classes[classes["by"] > 0].sort_values(["by", "name"], ascending=[False, True])
    for row in changed.head(limit).to_dict("records"):
        yield f"  class {safe(row['name'])}: {_share(row, 'old')} -> {_share(row, 'new')}"
    if len(changed) > limit:
        yield f"  and {len(changed) - limit:,} more changed classes"


def _drift_lines(difference: Difference, limit: int) -> Iterator[str]:
    if difference.drift is not None:
        worst = difference.class_drift[difference.class_drift["shift"] > 0].head(limit)
        yield f"embedding drift: {difference.drift.shift:.3f} (shift of the mean in units of the old spread)"
        for row in worst.to_dict("records"):
            yield f"  class {safe(row['label'])}: {row['shift']:.3f} ({row['old_images']:,} -> {row['new_images']:,} images)"


def _samples(samples: pd.DataFrame, change: str, limit: int) -> Iterator[str]:
    for row in samples.head(limit).to_dict("records"):
        old, new = (row[name] if isinstance(row[name], str) else None for name in ("old_id", "new_id"))
        named = safe(new or old) if new is None or old is None or new == old else f"{safe(old)} -> {safe(new)}"
        column = {"relabelled": "label", "moved": "split"}.get(change)
        detail = f" ({_given(row, 'old', column)} -> {_given(row, 'new', column)})" if column else ""
        yield f"{change}: {named}{detail}"
    if len(samples) > limit:
        yield f"{change}:{_more(len(samples), limit)}"


def _given(row: Mapping[Any, Any], side: str, column: str) -> str:
    value = row[f"{side}_{column}"]
    return safe(value) if isinstance(value, str) else f"no {column}"


def _findings(findings: pd.DataFrame, state: str, limit: int) -> Iterator[str]:
    for row in findings.head(limit).to_dict("records"):
        subject = next((name for name in (row["sample_id"], row["label"]) if isinstance(name, str)), "dataset")
        yield f"  {state}: {row['severity']} {row['check']} {safe(subject)}: {safe(row['message'])} [{row['cause']}, {row['finding_id']}]"
    if len(findings) > limit:
        yield f"  {state}:{_more(len(findings), limit)}"


def _share(row: dict[Any, Any], side: str) -> str:
    images, flagged = int(row[f"images_{side}"]), int(row[f"flagged_{side}"])
    return f"{flagged:,} ({flagged / images:.1%})" if images else "-"


def _more(number: int, limit: int) -> str:
    """Return the number of entries beyond the first ``limit`` as text."""
    return f" {'and ' * (limit > 0)}{number - limit:,}{' more' * (limit > 0)}" if number > limit else ""


def _number(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
