"""``run.json`` as a scan writes it: what was asked, found and done, and what every file was when it was written."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audit.io.artifacts import write_json

FILES = {
    "ingest": ("samples.parquet", "embeddings.npy", "thumbnails.npy"),
    "neighbors": ("neighbors.npy", "similarities.npy", "state/neighbors.npy", "state/similarities.npy", "state/neighbors-of.npy"),
    "pairs": ("pairs.parquet", "state/unlike.npy"),
    "predictions": ("predictions.npy", "label_quality.parquet"),
    "faces": ("faces.parquet", "state/faces-of.npy"),
}
"""Stage -> what it writes, in the run directory."""

_READ_AT_ONCE = 1 << 20


class DamagedError(Exception):
    """A file that a stage was to work on was damaged since it was written. It is removed: whoever catches this goes through the stages again."""


def key_of(*parts: object) -> str:
    """Return a digest of a stage's inputs."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def digest_of(column: npt.NDArray[Any]) -> str:
    """Return a digest of an array's values."""
    return hashlib.sha256(np.ascontiguousarray(column).tobytes()).hexdigest()[:32]


@dataclass(slots=True)
class Record:
    """``run.json`` as it grows.

    Args:
        path: of ``run.json``.
        content: what it holds.
        note: told of files that were damaged since they were written.
    """

    path: Path
    content: dict[str, Any]
    note: Callable[[str], None]
    _sound: set[str] = field(default_factory=set)
    """Files whose content this scan wrote or has read whole already."""

    def done(self, stage: str, key: str) -> bool:
        """Return whether a stage's files were made from the same inputs, are still there, and look as they were left."""
        state = self.content["stages"].get(stage, {})
        names = FILES[stage]
        if state.get("state") != "done" or state.get("key") != key or not all((self.path.parent / name).is_file() for name in names):
            return False
        return self.look_unchanged(*(name for name in names if not name.startswith("state/")))

    def look_unchanged(self, *names: str) -> bool:
        """Return whether files have the size and time they were left with, else the same content; one of other content is removed."""
        return all(self._holds(name, whole=False) for name in names)

    def is_sound(self, *names: str) -> bool:
        """Return whether the content of files is what was written; one that is not is removed. Each is read whole, once per scan."""
        return all(self._holds(name, whole=True) for name in names)

    def rely_on(self, *names: str) -> None:
        """Raise DamagedError where a file is not sound that is about to be worked on."""
        if not self.is_sound(*names):
            raise DamagedError

    def _holds(self, name: str, *, whole: bool) -> bool:
        written, path = self.content["files"].get(name), self.path.parent / name
        if name in self._sound or not path.is_file():  # what is lost is not damaged
            return True
        if written is None:  # an older version noted nothing: from now on it is known
            if whole:
                self.wrote(name)
            return True
        if not whole and {**written, **_appearance(path)} == written:
            return True
        found = _facts(path)
        if (found["bytes"], found["crc32"]) != (written["bytes"], written["crc32"]):
            self.note(f"{path}: damaged: its content is not what was written; it is made anew")
            path.unlink()
            del self.content["files"][name]
            return False
        self.content["files"][name] = found
        self._sound.add(name)
        return True

    def wrote(self, *names: str) -> None:
        """Note what files hold now."""
        self.content["files"] |= {name: _facts(self.path.parent / name) for name in names}
        self._sound |= {*names}

    def begin(self, stage: str) -> None:
        """Note that a stage's files are no longer to be relied on."""
        known = [self.content["files"].pop(name, None) for name in FILES[stage]]
        if self.content["stages"].pop(stage, None) is not None or any(known):
            self.save()

    def forget(self, stage: str) -> None:
        """Remove a stage's tables: row *i* of them is no longer sample *i*, or nobody asked for what they tell."""
        self.begin(stage)
        for name in FILES[stage]:
            if not name.startswith("state/"):
                (self.path.parent / name).unlink(missing_ok=True)

    def end(self, stage: str, key: str, seconds: float, **facts: object) -> None:
        """Note that a stage is done, and save."""
        self.wrote(*FILES[stage])
        self.content["stages"][stage] = {"state": "done", "key": key, **facts}
        self.content["timings"][stage] = round(seconds, 3)
        self.save()

    def finish(self, seconds: float | None) -> None:
        """Note that all stages are done, when, and how long it took; None where there was nothing to do: the note of the scan before stands."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.content["files"] = {name: facts for name, facts in self.content["files"].items() if (self.path.parent / name).is_file()}
        self.content["finished"] = True
        self.content |= {} if seconds is None else {"finished_at": now, "seconds": round(seconds, 1)}
        self.save()

    def save(self) -> None:
        """Write ``run.json``."""
        write_json(self.path, self.content)


def _appearance(path: Path) -> dict[str, int]:
    found = path.stat()
    return {"bytes": found.st_size, "modified_ns": found.st_mtime_ns}


def _facts(path: Path) -> dict[str, Any]:
    """Return size in bytes, time of change in ns and CRC-32 of a file: enough against damage, and several times as fast as a cryptographic digest."""
    appearance, checksum = _appearance(path), 0
    with path.open("rb") as file:
        while part := file.read(_READ_AT_ONCE):
            checksum = zlib.crc32(part, checksum)
    return {**appearance, "crc32": f"{checksum:08x}"}
