"""Review decisions: an append-only log in the run directory, ``RUN/decisions.jsonl``, one JSON object per line.

A scan never changes the file, and decisions refer to content, not names, so they survive rescans and renames. Several reviewers can write at once.
Nothing is overwritten; an undo appends a line. `audit.review.consensus` turns decisions into actions, `audit.review.agreement` measures reviewers and
checks, `audit.review.decision_files` imports and exports decisions.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.errors import AuditError, RunError, nearest
from audit.tables import cell_value

if TYPE_CHECKING:
    import pandas as pd

    from audit.run.run import Run

FILE = "decisions.jsonl"

VERDICTS = ("keep", "accept", "relabel", "drop", "unsure")
"""``keep``: the finding is wrong, keep the image as it is. ``accept``: the finding is right and is fixed elsewhere, as for a class or metadata.
``relabel``: the label is wrong. ``drop``: remove the image. ``unsure``: seen, not decided."""

_LOCK = ".decisions.lock"
_PATIENCE = 10.0
"""Seconds to wait while another process writes; a write takes milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Decision of one reviewer about a finding, or about an image without a finding.

    Raises:
        AuditError: the verdict is unknown, ``relabel`` has no label, or the reviewer or the subject is missing.
    """

    verdict: str
    """One of `VERDICTS`."""
    reviewer: str
    content_id: str | None = None
    """Hash of the image's bytes, or of its name if it was unreadable; see `audit.run.findings.identity`. None for a class or the dataset."""
    ordinal: int = 0
    """Position among the byte-identical copies, in the order of sample ids."""
    copies: int = 1
    """Number of byte-identical copies at the time of the decision; if there are fewer now, the remaining one may not be the one decided about."""
    finding_id: str | None = None
    check: str | None = None
    """The finding's check. Decisions without one do not count for any check's precision."""
    label: str | None = None
    """The correct label, for ``relabel`` only."""
    given_label: str | None = None
    """The image's label at the time of the decision."""
    sample_id: str | None = None
    """The image's name at the time of the decision; distinguishes byte-identical copies as long as it exists."""
    note: str = ""
    time: str = ""
    """ISO 8601 in UTC; empty until stored."""

    def __post_init__(self) -> None:
        where = self.sample_id or self.finding_id or "decision"
        if self.verdict not in VERDICTS:
            raise AuditError(where, f"unknown verdict {self.verdict!r}", nearest(self.verdict, VERDICTS))
        if not self.reviewer.strip():
            raise AuditError(where, "has no reviewer", "enter the reviewer's name")
        if self.verdict == "relabel" and not self.label:
            raise AuditError(where, "relabel without a label", "enter the correct label, or decide keep, drop or unsure")
        if self.content_id is None and self.finding_id is None:
            raise AuditError(where, "has neither an image nor a finding", "add a content_id or a finding_id")

    @property
    def subject(self) -> str:
        """Finding id, or content id and ordinal of the image. A later decision of the same reviewer about the same subject replaces this one."""
        return self.finding_id or f"{self.content_id}:{self.ordinal}"


COLUMNS = tuple(field.name for field in dataclasses.fields(Decision))


class Decisions:
    """The decisions of a run. Repeated calls are cheap: only appended lines are read.

    Args:
        run: the run directory. The first decision creates the log.
    """

    def __init__(self, run: str | Path) -> None:
        self.path = Path(run) / FILE
        self.unreadable = 0
        """Number of invalid lines, cut off by a crash or a full disk, or written by a newer version."""
        self._offset = 0
        self._file: tuple[int, int] | None = None
        self._decided: dict[str, tuple[str, Decision]] = {}  # action and subject -> action, decision
        self._retracted: set[str] = set()  # actions
        self._current: pd.DataFrame | None = None

    def append(self, decisions: Sequence[Decision]) -> str:
        """Store the decisions of one action on disk, all or none.

        Args:
            decisions: those without a time get the current time; times always increase, even if the clock does not.

        Returns:
            The action's id.

        Raises:
            RunError: the run directory is missing, not writable, or locked by another process for too long.
        """
        action = uuid.uuid4().hex
        if decisions:
            self._refresh()
            latest = max((decision.time for _, decision in self._decided.values()), default="")
            now = _after(latest)
            timed = [decision if decision.time else dataclasses.replace(decision, time=now) for decision in decisions]
            fields = [dataclasses.asdict(decision) for decision in timed]
            self._write([{"action": action} | {name: value for name, value in row.items() if value not in (None, "")} for row in fields])
        return action

    def undo(self, reviewer: str) -> list[Decision]:
        """Undo a reviewer's last action; earlier decisions become current again.

        Returns:
            The undone decisions, all of that action; empty if there was none.
        """
        self._refresh()
        valid = [(decision.time, action) for action, decision in self._valid() if decision.reviewer == reviewer]
        if not valid:
            return []
        last = max(valid)[1]
        undone = [decision for action, decision in self._valid() if action == last]
        self._write([{"retracts": last, "reviewer": reviewer, "time": _after("")}])
        return undone

    def current(self) -> pd.DataFrame:
        """Return the latest decision of each reviewer about each subject, oldest first.

        Returns:
            Columns of `Decision` and ``subject``; None for unknown values.
        """
        self._refresh()
        if self._current is None:
            self._current = latest([decision for _, decision in self._valid()])
        return self._current.copy()

    def every(self) -> list[Decision]:
        """Return all decisions that were not undone, including replaced ones, in stored order."""
        self._refresh()
        return [decision for _, decision in self._valid()]

    def _valid(self) -> list[tuple[str, Decision]]:
        return [(action, decision) for action, decision in self._decided.values() if action not in self._retracted]

    def _refresh(self) -> None:
        """Read appended lines; a file that was replaced or shortened is read from its start."""
        try:
            with self.path.open("rb") as file:
                state = os.fstat(file.fileno())
                identity = (state.st_dev, state.st_ino)
                if identity != self._file or state.st_size < self._offset:
                    self._forget()
                    self._file = identity
                if state.st_size == self._offset:
                    return
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            self._forget()
            return
        whole = data.rfind(b"\n") + 1  # the rest is still being written, or was cut off
        for line in data[:whole].splitlines():
            self._take(line)
        self._offset += whole
        if whole:
            self._current = None

    def _forget(self) -> None:
        self._file, self._offset, self.unreadable, self._current = None, 0, 0, None
        self._decided.clear()
        self._retracted.clear()

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            record = json.loads(line)
            if "retracts" in record:
                self._retracted.add(str(record["retracts"]))
                return
            decision = Decision(**{name: record[name] for name in COLUMNS if name in record})
            self._decided.setdefault(f"{record['action']}:{decision.subject}", (str(record["action"]), decision))
        except (ValueError, TypeError, KeyError, AuditError):
            self.unreadable += 1

    def _write(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Append lines in one write. The lock protects the file on network shares, and allows truncating a partial write."""
        from filelock import FileLock, Timeout

        lines = "".join(f"{json.dumps(record, ensure_ascii=True)}\n" for record in records).encode()
        if not self.path.parent.is_dir():
            raise RunError(self.path.parent, "no such run directory", "create one with: imagenet-audit scan SOURCE --out RUN")
        try:
            with FileLock(self.path.with_name(_LOCK), timeout=_PATIENCE):
                _append(self.path, lines)
        except Timeout:
            raise RunError(self.path, "is locked by another process", "check whether another reviewer's program hangs, then try again") from None
        except PermissionError:
            raise RunError(self.path, "is not writable", "make the run directory writable, or review a copy of it") from None


def latest(decisions: Sequence[Decision]) -> pd.DataFrame:
    """Return the latest decision of each reviewer about each subject, oldest first; see `Decisions.current`. Equal times keep their order."""
    import pandas as pd

    rows = [[getattr(decision, name) for name in COLUMNS] + [decision.subject] for decision in decisions]
    frame = pd.DataFrame(rows, columns=[*COLUMNS, "subject"], dtype=object).astype({"ordinal": "int64", "copies": "int64"})
    ordered = frame.sort_values("time", kind="stable")
    return ordered.drop_duplicates(["reviewer", "subject"], keep="last").reset_index(drop=True)


def decide(run: Run, findings: pd.DataFrame, verdict: str, *, reviewer: str, label: str | None = None, note: str = "") -> list[Decision]:
    """Return one decision per finding, for `Decisions.append`.

    Args:
        run: the run of the findings.
        findings: rows with columns of ``audit.tables.FINDINGS``.
        verdict: one of `VERDICTS`.
        reviewer: the reviewer's name.
        label: the correct label, for ``relabel``; each finding's suggested label if None.
        note: a comment.

    Raises:
        AuditError: as `Decision`, for example ``relabel`` with neither a given nor a suggested label.
    """
    from audit.run.findings import identity

    decisions = []
    for finding in findings.to_dict("records"):
        sample_id = cell_value(finding["sample_id"])
        ordinal, copies = run.identical_copies.get(sample_id or "", (0, 1))
        decisions.append(
            Decision(
                verdict=verdict,
                reviewer=reviewer,
                content_id=None if sample_id is None else identity(cell_value(finding["content_id"]), sample_id),
                ordinal=ordinal,
                copies=copies,
                finding_id=str(finding["finding_id"]),
                check=str(finding["check"]),
                label=(label or cell_value(finding["suggested_label"])) if verdict == "relabel" else None,
                given_label=cell_value(finding["label"]),
                sample_id=sample_id,
                note=note,
            )
        )
    return decisions


def _append(path: Path, lines: bytes) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    try:
        before = os.fstat(descriptor).st_size
        if before:
            os.lseek(descriptor, before - 1, os.SEEK_SET)
            if os.read(descriptor, 1) != b"\n":  # the last writer was killed: keep its partial line separate
                lines = b"\n" + lines
        written = os.write(descriptor, lines)
        if written < len(lines):
            os.ftruncate(descriptor, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _after(latest: str) -> str:
    """Return the current time, or one microsecond after ``latest`` if the clock is behind it."""
    now = datetime.now(UTC)
    if latest:
        try:
            now = max(now, datetime.fromisoformat(latest).astimezone(UTC) + timedelta(microseconds=1))
        except (ValueError, OverflowError):
            return now.isoformat(timespec="microseconds")
    return now.isoformat(timespec="microseconds")
