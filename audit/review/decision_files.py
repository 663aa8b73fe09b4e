"""Read and write files of decisions: exports for a colleague or the next dataset version, and review sheets filled in by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.errors import AuditError, nearest
from audit.io.spreadsheet import csv_text, read_csv
from audit.review.decisions import COLUMNS, VERDICTS, Decision
from audit.run.findings import identity

if TYPE_CHECKING:
    import pandas as pd

    from audit.run.run import Run

SHEET = ("verdict", "label", "note", "given_label", "suggested_label", "severity", "check", "message", "sample_id", "finding_id", "content_id")
"""Columns of a review sheet; the first three are filled in by hand."""

_SUFFIXES = (".csv", ".jsonl")
_KEYS = ("finding_id", "content_id", "sample_id")
_CONTENT_ID = re.compile("[0-9a-f]{64}")


def write_decisions(path: Path, decisions: pd.DataFrame) -> None:
    """Write decisions as CSV or JSON lines, by the file's suffix; `read_decisions` reads both.

    Args:
        path: ends in ``.csv`` or ``.jsonl``.
        decisions: columns of `Decision`.
    """
    rows = [_plain(row) for row in decisions[list(COLUMNS)].to_dict("records")]
    if _suffix(path) == ".csv":
        path.write_text(csv_text(COLUMNS, rows), encoding="utf-8", newline="")
    else:
        path.write_text("".join(f"{json.dumps({key: value for key, value in row.items() if value is not None})}\n" for row in rows), encoding="utf-8")


def write_sheet(path: Path, findings: pd.DataFrame) -> None:
    """Write findings as a CSV review sheet: a verdict per row and, for ``relabel``, a label (default: the suggested one).

    Args:
        path: file to write.
        findings: rows of ``audit.tables.FINDINGS``.

    Raises:
        AuditError: the file exists and may contain verdicts, or its suffix is not ``.csv``.
    """
    if path.suffix.lower() != ".csv":
        raise AuditError(path, "a review sheet is a CSV file", "choose a name that ends in .csv")
    filled = findings.rename(columns={"label": "given_label"})
    text = csv_text(SHEET, [_plain(row) for row in filled.to_dict("records")])
    try:
        with path.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
    except FileExistsError:
        raise AuditError(path, "already exists and may contain verdicts", "choose another file, or remove this one first") from None


def read_decisions(path: Path, run: Run, *, reviewer: str | None = None) -> list[Decision]:
    """Read decisions from CSV or JSON lines; rows without a verdict are skipped.

    A row identifies its subject by ``finding_id``, by ``content_id`` (with ``ordinal``), or by ``sample_id``, alone or with ``check``. Subjects that
    the run does not have are kept if they have a content id: they may be about another version of the dataset.

    Args:
        path: ends in ``.csv`` or ``.jsonl``.
        run: the run that the decisions are about.
        reviewer: reviewer of rows that do not name one.

    Raises:
        AuditError: a row is invalid; the error names file and line.
    """
    rows = [(where, cells) for where, cells in _rows(path) if str(cells.get("verdict") or "").strip()]
    index = run.findings_index
    ids = {str(cells["finding_id"]) for _, cells in rows if cells.get("finding_id")}
    names = {str(cells["sample_id"]) for _, cells in rows if cells.get("sample_id")}
    found = index[index["finding_id"].isin(ids) | index["sample_id"].isin(names)]
    findings = {str(row["finding_id"]): _plain(row) for row in found.to_dict("records")}
    by_check: dict[tuple[str, str], list[str]] = {}
    for finding_id, finding in findings.items():
        by_check.setdefault((str(finding["sample_id"]), str(finding["check"])), []).append(finding_id)
    samples = _samples(run, names | {str(finding["sample_id"]) for finding in findings.values() if finding["sample_id"]})
    decisions = []
    for where, cells in rows:
        known = dict(cells)
        if not known.get("finding_id") and len(one := by_check.get((str(known.get("sample_id")), str(known.get("check"))), [])) == 1:
            known["finding_id"] = one[0]
        finding = findings.get(str(known.get("finding_id")), {})
        try:
            decisions.append(_decision(known, finding, samples, reviewer))
        except AuditError as error:
            raise AuditError(where, error.problem, error.hint) from None
    return decisions


def new_decisions(decisions: Iterable[Decision], current: pd.DataFrame) -> list[Decision]:
    """Return the decisions that differ from the current ones and are not older, so that importing a file twice changes nothing.

    Args:
        decisions: as `read_decisions` returns them.
        current: as `audit.review.decisions.Decisions.current` returns them.
    """
    current_of = {(row["reviewer"], row["subject"]): row for row in current.to_dict("records")}
    fresh = []
    for decision in decisions:
        known = current_of.get((decision.reviewer, decision.subject))
        same = known is not None and (known["verdict"], known["label"], known["note"]) == (decision.verdict, decision.label, decision.note)
        older = known is not None and bool(decision.time) and decision.time <= known["time"]
        if not same and not older:
            fresh.append(decision)
    return fresh


def _decision(cells: Mapping[str, Any], finding: Mapping[str, Any], samples: Mapping[str, Mapping[str, Any]], reviewer: str | None) -> Decision:
    """Complete a row with what the run knows about its finding and image. Raises AuditError with an empty ``where``, which the caller fills in."""
    text = {key: str(value).strip() if key in ("verdict", "reviewer", "time") else str(value) for key, value in cells.items() if value is not None}
    verdict = text["verdict"].lower()
    name = text.get("sample_id") or finding.get("sample_id")
    sample = samples.get(str(name), {})
    if not any(text.get(key) for key in _KEYS):
        raise AuditError("", "names no finding or image", f"fill in one of {', '.join(_KEYS)}")
    if not finding and not sample and not _CONTENT_ID.fullmatch(text.get("content_id", "")):
        what = "finding" if text.get("finding_id") else "image"
        hint = "use names from the sample_id column" if what == "image" else "use finding ids of this run"
        raise AuditError("", f"this run has no {what} {(text.get('finding_id') or name)!r}", hint)
    if verdict not in VERDICTS:
        raise AuditError("", f"unknown verdict {text['verdict']!r}", nearest(verdict, VERDICTS))
    label = text.get("label") or finding.get("suggested_label")
    own = sample if text.get("content_id") in (None, "", sample.get("content_id")) else {}  # else the name now belongs to other content
    return Decision(
        verdict=verdict,
        reviewer=text.get("reviewer") or reviewer or "",
        content_id=text.get("content_id") or own.get("content_id"),
        ordinal=own.get("ordinal", _whole(text.get("ordinal"), 0)),
        copies=own.get("copies", _whole(text.get("copies"), 1)),
        finding_id=text.get("finding_id") or None,
        check=text.get("check") or finding.get("check"),
        label=label if verdict == "relabel" else None,
        given_label=text.get("given_label") or finding.get("label") or sample.get("label"),
        sample_id=name,
        note=text.get("note", ""),
        time=_utc(text.get("time", "")),
    )


def _samples(run: Run, names: set[str]) -> dict[str, dict[str, Any]]:
    """Return the identifying columns of the images with these names that the run has."""
    import numpy as np

    ordered = sorted(names)
    rows = run.rows_of(ordered)
    columns = run.columns("content_id", "label", rows=rows[rows >= 0])
    present = [name for name, row in zip(ordered, np.asarray(rows).tolist(), strict=True) if row >= 0]
    found = {}
    for name, sample in zip(present, columns.to_dict("records"), strict=True):
        plain = _plain(sample)
        ordinal, copies = run.identical_copies.get(name, (0, 1))
        found[name] = {"content_id": identity(plain["content_id"], name), "label": plain["label"], "ordinal": ordinal, "copies": copies}
    return found


def _rows(path: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    if _suffix(path) == ".csv":
        rows: list[tuple[str, dict[str, Any]]] = [(f"{path}:{line}", dict(cells)) for line, cells in read_csv(path)]
    else:
        rows = list(_json_lines(path))
    columns = {column for _, cells in rows for column in cells}
    if rows and "verdict" not in columns:
        raise AuditError(path, "has no column 'verdict'", f"{nearest('verdict', columns)}; the columns are {', '.join(COLUMNS)}")
    return rows


def _json_lines(path: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise AuditError(path, "no such file", "check the spelling") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                record = json.loads(line)
            except ValueError as error:
                raise AuditError(f"{path}:{number}", f"is not valid JSON: {error}", "write one JSON object per line") from None
            if not isinstance(record, dict):
                raise AuditError(f"{path}:{number}", "is not a JSON object", "write one JSON object per line")
            yield f"{path}:{number}", record


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise AuditError(path, f"unknown suffix {suffix!r}", "choose a name that ends in .csv or .jsonl")
    return suffix


def _utc(text: str) -> str:
    if not text:
        return ""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise AuditError("", f"{text!r} is not a valid time", "write it as 2026-01-31T12:00:00+00:00, or leave it empty") from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC).isoformat(timespec="microseconds")


def _whole(text: str | None, default: int) -> int:
    try:
        return int(text) if text else default
    except ValueError:
        raise AuditError("", f"{text!r} is not a whole number", "leave ordinal and copies as exported, or empty") from None


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a row with None for missing values, for which pandas has NaN."""
    return {str(key): None if value is None or value != value else value for key, value in row.items()}  # noqa: PLR0124 - NaN
