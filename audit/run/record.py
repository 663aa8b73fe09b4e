"""``run.json`` while a scan writes it: the request, the results, and the state of every file when it was written."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from audit.io.artifacts import write_json

_READ_AT_ONCE = 1 << 20


class Stored(Protocol):
    """What a record knows about a stage."""

    name: ClassVar[str]
    """Key in ``run.json``."""
    files: ClassVar[tuple[str, ...]]
    """What the stage writes, relative to the run directory; only the next scan reads those in ``state/``."""


class DamagedError(Exception):
    """A stage's input was damaged after it was written. The file is removed; the caller must run the stages from the first again."""


def key_of(*parts: object) -> str:
    """Return a digest of a stage's inputs."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def digest_of(column: npt.NDArray[Any]) -> str:
    """Return a digest of an array's values."""
    return hashlib.sha256(np.ascontiguousarray(column).tobytes()).hexdigest()[:32]


def as_json(content: Any) -> Any:
    """Return content as it will be read from a JSON file; values that JSON lacks become text."""
    return json.loads(json.dumps(content, default=str))


@dataclass(slots=True)
class Record:
    """``run.json`` while a scan writes it.

    Args:
        path: the path of ``run.json``.
        content: its content.
        note: receives a line for each file that is found damaged.
    """

    path: Path
    content: dict[str, Any]
    note: Callable[[str], None]
    _sound: set[str] = field(default_factory=set)
    """Files that this scan has written or read whole."""

    def done(self, stage: Stored, key: str) -> bool:
        """Return whether a stage's files exist, were made under this key, and look as they were written."""
        state = self.content["stages"].get(stage.name, {})
        if state.get("state") != "done" or state.get("key") != key or not all((self.path.parent / name).is_file() for name in stage.files):
            return False
        return self.look_unchanged(*_tables(stage))

    def look_unchanged(self, *names: str) -> bool:
        """Return whether files have the size and time they were written with, or else the same content; remove one whose content differs."""
        return all(self._holds(name, whole=False) for name in names)

    def is_sound(self, *names: str) -> bool:
        """Return whether files have the content they were written with; remove one that has not. Each is read whole, once per scan."""
        return all(self._holds(name, whole=True) for name in names)

    def rely_on(self, *names: str) -> None:
        """Raise DamagedError if the content of a file is not what was written."""
        if not self.is_sound(*names):
            raise DamagedError

    def _holds(self, name: str, *, whole: bool) -> bool:
        written, path = self.content["files"].get(name), self.path.parent / name
        if name in self._sound or not path.is_file():  # a lost file is not damaged
            return True
        if written is None:  # written by a version that recorded no checksums
            if whole:
                self.wrote(name)
            return True
        if not whole and {**written, **_appearance(path)} == written:
            return True
        found = _facts(path)
        if (found["bytes"], found["crc32"]) != (written["bytes"], written["crc32"]):
            self.note(f"{path}: corrupt: content differs from what was written; recomputing it")
            path.unlink()
            del self.content["files"][name]
            return False
        self.content["files"][name] = found
        self._sound.add(name)
        return True

    def wrote(self, *names: str) -> None:
        """Record the present content of files."""
        self.content["files"] |= {name: _facts(self.path.parent / name) for name in names}
        self._sound |= {*names}

    def begin(self, stage: Stored) -> None:
        """Record that a stage's files are about to be replaced and no longer valid."""
        known = [self.content["files"].pop(name, None) for name in stage.files]
        if self.content["stages"].pop(stage.name, None) is not None or any(known):
            self.save()

    def forget(self, stage: Stored) -> None:
        """Remove the tables of a stage that is not wanted or whose rows are no longer this run's samples."""
        self.begin(stage)
        for name in _tables(stage):
            (self.path.parent / name).unlink(missing_ok=True)

    def end(self, stage: Stored, key: str, seconds: float, **facts: object) -> None:
        """Record that a stage is done, and save."""
        self.wrote(*stage.files)
        self.content["stages"][stage.name] = {"state": "done", "key": key, **facts}
        self.content["timings"][stage.name] = round(seconds, 3)
        self.save()

    def finish(self, seconds: float | None) -> None:
        """Record that the scan is finished, when, and how long it took; None keeps the time of the last scan that did anything."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.content["files"] = {name: facts for name, facts in self.content["files"].items() if (self.path.parent / name).is_file()}
        self.content["finished"] = True
        self.content |= {} if seconds is None else {"finished_at": now, "seconds": round(seconds, 1)}
        self.save()

    def save(self) -> None:
        """Write ``run.json``."""
        write_json(self.path, self.content)


def _tables(stage: Stored) -> list[str]:
    return [name for name in stage.files if not name.startswith("state/")]


def _appearance(path: Path) -> dict[str, int]:
    found = path.stat()
    return {"bytes": found.st_size, "modified_ns": found.st_mtime_ns}


def _facts(path: Path) -> dict[str, Any]:
    """Return a file's size in bytes, modification time in ns and CRC-32, which is several times faster than a cryptographic digest."""
    appearance, checksum = _appearance(path), 0
    with path.open("rb") as file:
        while part := file.read(_READ_AT_ONCE):
            checksum = zlib.crc32(part, checksum)
    return {**appearance, "crc32": f"{checksum:08x}"}
