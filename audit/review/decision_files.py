"""Decisions as files: taken along to a colleague, to the next version of the dataset, or filled in by hand in a spreadsheet."""

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
"""Columns of a review sheet: the first three are filled in by hand."""

_ENDINGS = (".csv", ".jsonl")
_KEYS = ("finding_id", "content_id", "sample_id")
_CONTENT_ID = re.compile("[0-9a-f]{64}")


def write_decisions(path: Path, decisions: pd.DataFrame) -> None:
    """Write decisions as CSV or JSON lines, by the file's ending; both are read again by `read_decisions`.

    Args:
        path: ends in ``.csv`` or ``.jsonl``.
        decisions: columns of `Decision`.
    """
    rows = [_plain(row) for row in decisions[list(COLUMNS)].to_dict("records")]
    if _ending(path) == ".csv":
        path.write_text(csv_text(COLUMNS, rows), encoding="utf-8", newline="")
    else:
        path.write_text("".join(f"{json.dumps({key: value for key, value in row.items() if value is not None})}\n" for row in rows), encoding="utf-8")


def write_sheet(path: Path, findings: pd.DataFrame) -> None:
    """Write findings as a CSV sheet to be filled in: a verdict each, and for ``relabel`` a label, else the suggested one is taken.

    Args:
        path: of the sheet.
        findings: rows of ``audit.tables.FINDINGS``.

    Raises:
        AuditError: there is a file: it may hold verdicts. Or its ending is not that of a CSV, and it would not be read again.
    """
    if path.suffix.lower() != ".csv":
        raise AuditError(path, "a review sheet is a CSV file", "choose a name that ends in .csv")
    filled = findings.rename(columns={"label": "given_label"})
    text = csv_text(SHEET, [_plain(row) for row in filled.to_dict("records")])
    try:
        with path.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
    except FileExistsError:
        raise AuditError(path, "already exists and may contain verdicts", "name another file, or remove this one first") from None


def read_decisions(path: Path, run: Run, *, reviewer: str | None = None) -> list[Decision]:
    """Read decisions from CSV or JSON lines; rows without a verdict are not decided yet and are passed over.

    A row says what it is about by ``finding_id``, by ``content_id`` (with ``ordinal``), or by ``sample_id``, alone or with ``check``. What a run does
    not know is kept if it has a content id: it may be about another version of the dataset.

    Args:
        path: ends in ``.csv`` or ``.jsonl``.
        run: the run they are about.
        reviewer: who decided, for rows that do not say.

    Raises:
        AuditError: a row is wrong; the file's name and line, and what to do.
    """
    rows = [(place, cells) for place, cells in _rows(path) if str(cells.get("verdict") or "").strip()]
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
    for place, cells in rows:
        known = dict(cells)
        if not known.get("finding_id") and len(one := by_check.get((str(known.get("sample_id")), str(known.get("check"))), [])) == 1:
            known["finding_id"] = one[0]
        finding = findings.get(str(known.get("finding_id")), {})
        try:
            decisions.append(_decision(known, finding, samples, reviewer))
        except AuditError as error:
            raise AuditError(place, error.problem, error.hint) from None
    return decisions


def new_decisions(decisions: Iterable[Decision], current: pd.DataFrame) -> list[Decision]:
    """Return those that say something else than what stands: reading a file twice changes nothing.

    Args:
        decisions: as `read_decisions` returns them.
        current: as `audit.review.decisions.Decisions.current` returns them.
    """
    standing = {(row["reviewer"], row["subject"]): row for row in current.to_dict("records")}
    fresh = []
    for decision in decisions:
        there = standing.get((decision.reviewer, decision.subject))
        same = there is not None and (there["verdict"], there["label"], there["note"]) == (decision.verdict, decision.label, decision.note)
        older = there is not None and bool(decision.time) and decision.time <= there["time"]
        if not same and not older:
            fresh.append(decision)
    return fresh


def _decision(cells: Mapping[str, Any], finding: Mapping[str, Any], samples: Mapping[str, Mapping[str, Any]], reviewer: str | None) -> Decision:
    """Complete a row by what the run knows of its finding and its image. Raises AuditError, of which the place is the caller's to say."""
    text = {key: str(value).strip() if key in ("verdict", "reviewer", "time") else str(value) for key, value in cells.items() if value is not None}
    verdict = text["verdict"].lower()
    name = text.get("sample_id") or finding.get("sample_id")
    sample = samples.get(str(name), {})
    if not any(text.get(key) for key in _KEYS):
        raise AuditError("", "says of no image", f"fill in one of {', '.join(_KEYS)}")
    if not finding and not sample and not _CONTENT_ID.fullmatch(text.get("content_id", "")):
        what = "finding" if text.get("finding_id") else "image"
        hint = "names are those of the sample_id column" if what == "image" else "take the ids from the findings of this run"
        raise AuditError("", f"this run has no {what} {(text.get('finding_id') or name)!r}", hint)
    if verdict not in VERDICTS:
        raise AuditError("", f"unknown verdict {text['verdict']!r}", nearest(verdict, VERDICTS))
    label = text.get("label") or finding.get("suggested_label")
    own = sample if text.get("content_id") in (None, "", sample.get("content_id")) else {}  # else the name stands for other bytes by now
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
    """Return what identifies the images of these names, as far as the run has them."""
    import numpy as np

    ordered = sorted(names)
    rows = run.rows_of(ordered)
    columns = run.columns("content_id", "label", rows=rows[rows >= 0])
    there = [name for name, row in zip(ordered, np.asarray(rows).tolist(), strict=True) if row >= 0]
    found = {}
    for name, sample in zip(there, columns.to_dict("records"), strict=True):
        plain = _plain(sample)
        ordinal, copies = run.twins.get(name, (0, 1))
        found[name] = {"content_id": identity(plain["content_id"], name), "label": plain["label"], "ordinal": ordinal, "copies": copies}
    return found


def _rows(path: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    if _ending(path) == ".csv":
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
                raise AuditError(f"{path}:{number}", f"is no JSON: {error}", "write one JSON object a line") from None
            if not isinstance(record, dict):
                raise AuditError(f"{path}:{number}", "is no JSON object", "write one JSON object a line")
            yield f"{path}:{number}", record


def _ending(path: Path) -> str:
    ending = path.suffix.lower()
    if ending not in _ENDINGS:
        raise AuditError(path, f"unknown ending {ending!r}", "name a file that ends in .csv or .jsonl")
    return ending


def _utc(text: str) -> str:
    if not text:
        return ""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise AuditError("", f"{text!r} is no time", "write it as 2026-01-31T12:00:00+00:00, or leave it empty") from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC).isoformat(timespec="microseconds")


def _whole(text: str | None, default: int) -> int:
    try:
        return int(text) if text else default
    except ValueError:
        raise AuditError("", f"{text!r} is no whole number", "leave ordinal and copies as they were exported, or empty") from None


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a row with None for what is missing: pandas has NaN there, which is no text."""
    return {str(key): None if value is None or value != value else value for key, value in row.items()}  # noqa: PLR0124 - NaN
