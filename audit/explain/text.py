"""An explanation as text lines."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any

from audit.io.console import safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from audit.explain.explanation import Explanation, Measure, Other

NEIGHBORS_SHOWN = 10
PARTNERS_SHOWN = 20


def lines(image: Explanation) -> Iterator[str]:
    """Yield an explanation as text lines."""
    yield safe(image.sample_id)
    yield f"  content id {image.content_id or 'unknown'}"
    yield f"  label {', '.join(_label(image, label) for label in image.labels) or 'none'}" + (f", split {safe(image.split)}" if image.split else "")
    for name, value in image.metadata.items():
        yield f"  {safe(name)} {safe(value)}"
    yield f"  {image.outcome}" + (f": {safe(image.error)}" if image.error else "")
    yield from _section("findings", (line for finding in image.findings for line in _finding(image, finding)), "none")
    yield from _section(
        f"findings about class {safe(', '.join(image.labels))}", (line for finding in image.class_findings for line in _finding(image, finding))
    )
    duplicates = [_of_other(image, other, with_evidence=True) for other in image.duplicates[:PARTNERS_SHOWN]]
    if len(image.duplicates) > PARTNERS_SHOWN:
        duplicates.append(f"and {len(image.duplicates) - PARTNERS_SHOWN:,} more")
    yield from _section("duplicates", duplicates, "none")
    near = [_of_other(image, other) for other in image.neighbors[:NEIGHBORS_SHOWN]]
    yield from _section(f"nearest neighbors{_agreement(image)}", near, "none: the image has no embedding" if image.outcome != "ok" else "none")
    yield from _section("measures", (_of_measure(measure) for measure in image.measures), "none")
    yield from _section(
        "scores, 0 to 1, higher is worse",
        (f"{score.check} {score.score:.3f}, worse than {score.worse_than:.0%} of the images" for score in image.scores),
    )
    yield from _section("checks not run", (f"{name}: {safe(reason)}" for name, reason in image.not_run.items()))


def _section(title: str, content: Iterable[str], empty: str = "") -> Iterator[str]:
    entries = list(content) or ([empty] if empty else [])
    if entries:
        yield ""
        yield title
        yield from (f"  {line}" for line in entries)


def _label(image: Explanation, label: str | None) -> str:
    if label is None:
        return "no label"
    return safe(f"{label} ({image.class_words[label]})" if label in image.class_words else label)


def _finding(image: Explanation, finding: Mapping[str, Any]) -> Iterator[str]:
    yield f"{finding['severity']} {finding['score']:.2f}  {finding['check']}: {finding['kind']}"
    yield f"  {safe(finding['message'])}"
    if finding["suggested_label"]:
        yield f"  suggested label: {_label(image, finding['suggested_label'])}"
    for name, value in finding["evidence"].items():
        yield f"  {safe(name)}: {_value(value)}"


def _of_other(image: Explanation, other: Other, *, with_evidence: bool = False) -> str:
    relation = "" if other.relation == "neighbor" else f"  {other.relation}"
    split = f", {safe(other.split)}" if other.split else ""
    evidence = "  " + ", ".join(f"{safe(name)} {_value(value)}" for name, value in other.evidence.items()) if with_evidence and other.evidence else ""
    return f"{other.score:.3f}{relation}  {safe(other.sample_id)}  [{_label(image, other.label)}{split}]{evidence}"


def _agreement(image: Explanation) -> str:
    labelled = [other for other in image.neighbors[:NEIGHBORS_SHOWN] if other.label is not None]
    if not labelled or len(image.labels) != 1:
        return ""
    return f" ({sum(other.label in image.labels for other in labelled)} of {len(labelled)} have the same label)"


def _of_measure(measure: Measure) -> str:
    rank = "" if measure.above is None else f"  (above {measure.above:.0%} of the images)"
    return f"{measure.name.replace('_', ' ')} {_value(measure.value)}{rank}"


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(_value(entry) for entry in value) or "none"
    return textwrap.shorten(safe(value if isinstance(value, str | int) else json.dumps(value)), 300)
