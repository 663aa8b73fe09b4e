"""What reviewers decided: an append-only log beside the run's tables, ``RUN/decisions.jsonl``.

One JSON object a line. A scan never touches the file, and decisions are about bytes, not names, so they survive rescans, renames and restarts. Two
reviewers may write at once; nothing is ever overwritten, and an undo is a further line. How decisions become actions on images is in
`audit.review.consensus`; how far reviewers agree and how often checks are right, in `audit.review.agreement`; files of decisions, in
`audit.review.decision_files`.
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

if TYPE_CHECKING:
    import pandas as pd

    from audit.run.run import Run

FILE = "decisions.jsonl"

VERDICTS = ("keep", "accept", "relabel", "drop", "unsure")
"""``keep``: the finding is wrong, leave the image as it is. ``accept``: the finding is right, and what follows is done elsewhere, as for a class or
for metadata. ``relabel``: the right label is another. ``drop``: leave the image out. ``unsure``: seen, not decided."""

_LOCK = ".decisions.lock"
_PATIENCE = 10.0
"""Seconds to wait while another process writes; a write takes milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one reviewer decided about one finding, or about an image without a finding.

    Raises:
        AuditError: the verdict is unknown, ``relabel`` has no label, nobody decided, or it is about nothing.
    """

    verdict: str
    """One of `VERDICTS`."""
    reviewer: str
    content_id: str | None = None
    """Hash of the image's bytes, or of its name where they could not be read; see `audit.run.findings.identity`. None for a class or the dataset."""
    ordinal: int = 0
    """Which of the images with these same bytes, in the order of sample ids."""
    copies: int = 1
    """How many images had these bytes when it was decided: where there are fewer now, an image that is gone is not mistaken for its twin."""
    finding_id: str | None = None
    check: str | None = None
    """The finding's check. Decisions without one say nothing of any check's precision."""
    label: str | None = None
    """The right label, for ``relabel`` only."""
    given_label: str | None = None
    """The label the image had when it was decided about."""
    sample_id: str | None = None
    """The image's name when it was decided about: tells byte twins apart for as long as it lasts."""
    note: str = ""
    time: str = ""
    """ISO 8601 in UTC; empty until it is stored."""

    def __post_init__(self) -> None:
        place = self.sample_id or self.finding_id or "decision"
        if self.verdict not in VERDICTS:
            raise AuditError(place, f"unknown verdict {self.verdict!r}", nearest(self.verdict, VERDICTS))
        if not self.reviewer.strip():
            raise AuditError(place, "nobody decided it", "give the reviewer's name")
        if self.verdict == "relabel" and not self.label:
            raise AuditError(place, "relabel without a label", "give the right label, or decide keep, drop or unsure")
        if self.content_id is None and self.finding_id is None:
            raise AuditError(place, "is about no image and no finding", "give a content_id or a finding_id")

    @property
    def subject(self) -> str:
        """What it is about: a finding's id, or an image's bytes and ordinal. A later decision of the same reviewer about it replaces this one."""
        return self.finding_id or f"{self.content_id}:{self.ordinal}"


COLUMNS = tuple(field.name for field in dataclasses.fields(Decision))


class Decisions:
    """The decisions of a run. Cheap to ask again and again: only what was appended since is read.

    Args:
        run: the run directory. The log is made by the first decision.
    """

    def __init__(self, run: str | Path) -> None:
        self.path = Path(run) / FILE
        self.unreadable = 0
        """Lines that are no decision: what a crash or a full disk cut short, or a newer version wrote."""
        self._offset = 0
        self._file: tuple[int, int] | None = None
        self._decided: dict[str, tuple[str, Decision]] = {}  # a decision's own id -> the action it was part of, and the decision
        self._retracted: set[str] = set()  # actions
        self._current: pd.DataFrame | None = None

    def append(self, decisions: Sequence[Decision]) -> str:
        """Store decisions made in one action: all of them or, where that fails, none.

        Args:
            decisions: those without a time get the present one; a reviewer's times always rise, whatever the clock does.

        Returns:
            The action's id. What was stored is on the disk.

        Raises:
            RunError: the run directory is missing, cannot be written or is locked by another process for long.
        """
        action = uuid.uuid4().hex
        if decisions:
            self._refresh()
            latest = max((decision.time for _, decision in self._decided.values()), default="")
            now = _after(latest)
            timed = [decision if decision.time else dataclasses.replace(decision, time=now) for decision in decisions]
            self._write([{"action": action, **_compact(decision)} for decision in timed])
        return action

    def undo(self, reviewer: str) -> list[Decision]:
        """Take back a reviewer's last action that still stands; what was decided before it is current again.

        Returns:
            The decisions taken back, all of that action; empty where there was none.
        """
        self._refresh()
        standing = [(decision.time, action) for action, decision in self._standing() if decision.reviewer == reviewer]
        if not standing:
            return []
        last = max(standing)[1]
        taken_back = [decision for action, decision in self._standing() if action == last]
        self._write([{"retracts": last, "reviewer": reviewer, "time": _after("")}])
        return taken_back

    def current(self) -> pd.DataFrame:
        """Return what stands: the latest decision of each reviewer about each subject, oldest first.

        Returns:
            Columns of `Decision` and ``subject``; None where a value is not known.
        """
        self._refresh()
        if self._current is None:
            self._current = latest([decision for _, decision in self._standing()])
        return self._current.copy()

    def every(self) -> list[Decision]:
        """Return all decisions that were not taken back, those since replaced included, in the order they were stored."""
        self._refresh()
        return [decision for _, decision in self._standing()]

    def _standing(self) -> list[tuple[str, Decision]]:
        return [(action, decision) for action, decision in self._decided.values() if action not in self._retracted]

    def _refresh(self) -> None:
        """Read what was appended since; a file that was replaced or shortened is read from its start."""
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
        whole = data.rfind(b"\n") + 1  # the rest is still being written, or was cut short
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
        """Append lines in one write; the lock keeps the file whole on network shares too, and lets a write that did not fit be taken back."""
        from filelock import FileLock, Timeout

        lines = "".join(f"{json.dumps(record, ensure_ascii=True)}\n" for record in records).encode()
        if not self.path.parent.is_dir():
            raise RunError(self.path.parent, "there is no such run directory", "make one with: imagenet-audit scan SOURCE --out RUN")
        try:
            with FileLock(self.path.with_name(_LOCK), timeout=_PATIENCE):
                _append(self.path, lines)
        except Timeout:
            raise RunError(self.path, "another process has been writing for long", "see whether a reviewer's program hangs, then try again") from None
        except PermissionError:
            raise RunError(self.path, "may not be written", "make the run directory writable, or review a copy of it") from None


def latest(decisions: Sequence[Decision]) -> pd.DataFrame:
    """Return the latest decision of each reviewer about each subject, oldest first; see `Decisions.current`. Equal times keep the order given."""
    import pandas as pd

    rows = [[getattr(decision, name) for name in COLUMNS] + [decision.subject] for decision in decisions]
    frame = pd.DataFrame(rows, columns=[*COLUMNS, "subject"], dtype=object).astype({"ordinal": "int64", "copies": "int64"})
    ordered = frame.sort_values("time", kind="stable")
    return ordered.drop_duplicates(["reviewer", "subject"], keep="last").reset_index(drop=True)


def decide(run: Run, findings: pd.DataFrame, verdict: str, *, reviewer: str, label: str | None = None, note: str = "") -> list[Decision]:
    """Return one decision about each finding, to be given to `Decisions.append` as one action.

    Args:
        run: the run the findings are of.
        findings: rows with columns of ``audit.tables.FINDINGS``.
        verdict: one of `VERDICTS`.
        reviewer: who decides.
        label: the right label, for ``relabel``; each finding's own suggested label where None.
        note: anything a colleague should know.

    Raises:
        AuditError: as `Decision`; among them ``relabel`` where neither a label is given nor one suggested.
    """
    from audit.run.findings import identity

    decisions = []
    for finding in findings.to_dict("records"):
        sample_id = _text(finding["sample_id"])
        ordinal, copies = run.twins.get(sample_id or "", (0, 1))
        decisions.append(
            Decision(
                verdict=verdict,
                reviewer=reviewer,
                content_id=None if sample_id is None else identity(_text(finding["content_id"]), sample_id),
                ordinal=ordinal,
                copies=copies,
                finding_id=str(finding["finding_id"]),
                check=str(finding["check"]),
                label=(label or _text(finding["suggested_label"])) if verdict == "relabel" else None,
                given_label=_text(finding["label"]),
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
            if os.read(descriptor, 1) != b"\n":  # the last writer was killed: its line stays a line of its own
                lines = b"\n" + lines
        written = os.write(descriptor, lines)
        if written < len(lines):
            os.ftruncate(descriptor, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _compact(decision: Decision) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(decision).items() if value not in (None, "")}


def _after(latest: str) -> str:
    """Return the present time, or the moment after ``latest`` where the clock is behind it."""
    now = datetime.now(UTC)
    if latest:
        try:
            now = max(now, datetime.fromisoformat(latest).astimezone(UTC) + timedelta(microseconds=1))
        except (ValueError, OverflowError):
            return now.isoformat(timespec="microseconds")
    return now.isoformat(timespec="microseconds")


def _text(value: Any) -> str | None:
    """A table's null may be None, NaN or NA."""
    return value if isinstance(value, str) else None
