"""Collect everything a run knows about one image."""

from __future__ import annotations

import bisect
import dataclasses
import difflib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from audit.errors import AuditError
from audit.run.personal_columns import MASKED, is_personal
from audit.tables import MEASURES, cell_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

    from audit import Run

SHORTEST_CONTENT_ID = 6
"""Minimum length of a content id prefix: shorter texts are often file names."""

CANDIDATES_SHOWN = 4

COMPARED = 50
"""Ids on either side, in two sorted orders, compared with a typo: comparing with all ids takes minutes at ImageNet's size."""

RANKED_MEASURES = ("byte_size", "width", "height", "brightness", "contrast", "sharpness", "entropy", "chroma")
"""Measures whose rank among the dataset's images is meaningful."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One measured value."""

    name: str
    value: Any
    above: float | None
    """Share of the images with a lower value, 0..1; None for unranked measures."""


@dataclass(frozen=True, slots=True)
class Score:
    """Score of one check for the image, flagged or not."""

    check: str
    score: float
    """0..1, higher = worse."""
    worse_than: float
    """Share of the scored images with a lower score, 0..1."""


@dataclass(frozen=True, slots=True)
class Other:
    """A related image."""

    sample_id: str
    label: str | None
    split: str | None
    relation: str
    """``neighbor``, or the verified relation of a pair: one of ``audit.tables.RELATIONS``."""
    score: float
    """Cosine similarity of the embeddings for a neighbor, certainty of the verification for a pair."""
    evidence: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Explanation:
    """One image: identity, measures, findings, scores, duplicates and neighbors."""

    sample_id: str
    row: int
    content_id: str | None
    split: str | None
    labels: tuple[str, ...]
    class_words: Mapping[str, str]
    """Label code -> class name, for the image's, the related images' and the suggested labels."""
    metadata: Mapping[str, Any]
    """Other columns of the manifest; personal values are masked."""
    outcome: str
    error: str | None
    measures: tuple[Measure, ...]
    findings: tuple[Mapping[str, Any], ...]
    """Findings about the image, the worst first."""
    class_findings: tuple[Mapping[str, Any], ...]
    """Findings about its classes."""
    scores: tuple[Score, ...]
    not_run: Mapping[str, str]
    """Check -> reason."""
    duplicates: tuple[Other, ...]
    """Verified duplicates, the most certain first; ``same_picture`` in JSON."""
    neighbors: tuple[Other, ...]
    """Nearest neighbors by embedding, the nearest first."""

    def as_dict(self) -> dict[str, Any]:
        """Return the explanation as JSON values."""
        return {"same_picture" if name == "duplicates" else name: value for name, value in dataclasses.asdict(self).items()}


def find_sample(samples: pd.DataFrame, text: str) -> int:
    """Return the row of the image that a text identifies.

    Args:
        samples: columns ``sample_id`` and ``content_id``.
        text: a sample id, a suffix of one, or a prefix of a content id.

    Raises:
        AuditError: no image or several images match; the error suggests ids.
    """
    ids = samples["sample_id"]
    contents = samples["content_id"]
    wanted = text.strip("/") or text
    attempts = [ids == text, ids.str.endswith(f"/{wanted}"), ids.str.endswith(wanted)]
    if len(text) >= SHORTEST_CONTENT_ID:
        attempts.append(contents.str.startswith(text.lower()).fillna(value=False))
    for matches in attempts:
        rows = np.flatnonzero(np.asarray(matches, bool))
        if len(rows) == 1:
            return int(rows[0])
        if len(rows) > 1:
            shown = ", ".join(repr(ids.iloc[row]) for row in rows[:CANDIDATES_SHOWN])
            more = f" and {len(rows) - CANDIDATES_SHOWN} more" if len(rows) > CANDIDATES_SHOWN else ""
            raise AuditError(repr(text), f"matches {len(rows)} images", f"use one of: {shown}{more}")
    near = _nearest_id(list(ids), text)
    raise AuditError(repr(text), "no such image in this run", f"did you mean {near!r}?" if near else "see the sample_id column of samples.parquet")


def explain(run: Run, row: int) -> Explanation:
    """Collect everything a run knows about the image in one row."""
    sample = run.samples.iloc[row]
    sample_id = str(sample["sample_id"])
    labels = (sample["label"],) if isinstance(sample["label"], str) else tuple(sample["labels"]) if sample["labels"] is not None else ()
    checks: Mapping[str, Mapping[str, Any]] = run.record.get("checks", {})
    own = tuple(_records(run.findings_page({"sample_id": sample_id}).rows))
    of_class = run.findings_page({"subject": "class", "label": labels}).rows
    duplicates, neighbors = tuple(_duplicates(run, row)), tuple(_neighbors(run, row))
    words: Mapping[str, str] = run.record.get("class_words") or {}
    shown = {*labels, *(other.label for other in (*duplicates, *neighbors)), *(finding["suggested_label"] for finding in own)}
    return Explanation(
        sample_id=sample_id,
        row=row,
        content_id=cell_value(sample["content_id"]),
        split=cell_value(sample["split"]),
        labels=labels,
        class_words={label: words[label] for label in sorted(filter(None, shown)) if label in words},
        metadata=_masked(json.loads(sample["metadata"])) if isinstance(sample["metadata"], str) else {},
        outcome=str(sample["outcome"]),
        error=cell_value(sample["error"]),
        measures=tuple(_measures(run.samples, sample)),
        findings=own,
        class_findings=tuple(_records(of_class)),
        scores=tuple(sorted(_scores(run, row, checks), key=lambda score: -score.score)),
        not_run={name: str(state.get("reason")) for name, state in checks.items() if state.get("state") == "skipped"},
        duplicates=duplicates,
        neighbors=neighbors,
    )


def _nearest_id(ids: Sequence[str], text: str) -> str | None:
    """Return the id most similar to a text, among those next to it in sorted order and in the sorted order of the reversed ids."""
    candidates: set[str] = set()
    for step in (1, -1):
        ordered = sorted(name[::step] for name in ids)
        position = bisect.bisect_left(ordered, text[::step])
        candidates.update(name[::step] for name in ordered[max(position - COMPARED, 0) : position + COMPARED])
    close = difflib.get_close_matches(text, sorted(candidates), n=1, cutoff=0.5)
    return close[0] if close else None


def _records(findings: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for record in findings.to_dict("records"):
        plain = {str(name): cell_value(value) for name, value in record.items()}
        yield {**plain, "score": round(float(record["score"]), 4), "evidence": json.loads(record["evidence"])}


def _measures(samples: pd.DataFrame, sample: pd.Series[Any]) -> Iterator[Measure]:
    for name in MEASURES.names:
        value = cell_value(sample[name])
        # perceptual_hash is omitted: pandas may store it as float, which cannot represent 64 bits.
        if name in ("content_id", "outcome", "error", "perceptual_hash") or value is None:
            continue
        if pa.types.is_integer(MEASURES.field(name).type):
            value = int(value)
        column = samples[name].to_numpy(np.float64, na_value=np.nan) if name in RANKED_MEASURES else None
        above = float(np.sum(column < value) / max(np.sum(~np.isnan(column)), 1)) if column is not None else None
        yield Measure(name, value, None if above is None else round(above, 4))


def _scores(run: Run, row: int, checks: Mapping[str, Mapping[str, Any]]) -> Iterator[Score]:
    for name, state in checks.items():
        if state.get("state") == "done":
            scores = run.scores(name)
            if not np.isnan(scores[row]):
                better = float(np.sum(scores < scores[row]) / np.sum(~np.isnan(scores)))
                yield Score(name, round(float(scores[row]), 4), round(better, 4))


def _duplicates(run: Run, row: int) -> Iterator[Other]:
    pairs = run.pairs[(run.pairs["i"] == row) | (run.pairs["j"] == row)].sort_values(["score", "i", "j"], ascending=[False, True, True])
    for pair in pairs.to_dict("records"):
        partner = int(pair["j"] if pair["i"] == row else pair["i"])
        yield _other(run.samples, partner, str(pair["relation"]), float(pair["score"]), json.loads(pair["evidence"]))


def _neighbors(run: Run, row: int) -> Iterator[Other]:
    for neighbor, similarity in zip(*run.neighbors_of(row), strict=True):
        if neighbor >= 0:
            yield _other(run.samples, int(neighbor), "neighbor", float(similarity), {})


def _other(samples: pd.DataFrame, row: int, relation: str, score: float, evidence: Mapping[str, Any]) -> Other:
    sample = samples.iloc[row]
    return Other(str(sample["sample_id"]), cell_value(sample["label"]), cell_value(sample["split"]), relation, round(score, 4), evidence)


def _masked(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Mask personal values, because explanations are pasted into tickets."""
    return {name: MASKED if is_personal(name) else value for name, value in metadata.items()}
