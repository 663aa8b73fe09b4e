"""Pin a dataset version by content: ``audit.lock``, a text file for git; see ``docs/gate.md``.

After the first line, the file has one group per split and class: a JSON array of the two names, then one line per image with half of the SHA-256 of
its bytes, in base64. Everything is sorted and file names are not stored, so the same content always gives the same lock, renaming a file changes
nothing, and a change of the dataset changes only its own lines.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from audit.diff.sample_changes import SampleChanges, one_label, sample_changes
from audit.diff.sample_matching import match
from audit.errors import AuditError, ConfigError
from audit.run.findings import identity
from audit.sources.storage.faults import readable
from audit.sources.storage.problems import NOT_LISTED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from audit.sources import Source

BYTES_PER_IMAGE = 23
"""22 characters and a newline."""

_HEAD = "imagenet-audit lock "
_VERSION = 1
_DIGEST_BYTES = 16
"""128 bits, so accidental collisions are negligible, as in `audit.run.identity`."""

_PADDED_BYTES = 18
"""Length to which a digest is padded, so that many are encoded as one base64 text: 24 characters each, the last two of them constant."""

_ALPHABET = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", np.uint8)
_GROUP = re.compile(rb"^\[.*$\n?", re.MULTILINE)


def pin(samples: pd.DataFrame) -> str:
    """Return the lock of a dataset version.

    Args:
        samples: columns `audit.diff.sample_changes.COLUMNS`; unreadable images (no content id) are identified by name.
    """
    labelled = one_label(samples)
    digests = _digest_texts(labelled)
    # The prefix makes every name, also an empty one, sort after a missing name.
    known = pd.DataFrame({name: (">" + labelled[name].astype(object)).where(labelled[name].notna(), " ") for name in ("split", "label")})
    parts = [f"{_HEAD}{_VERSION}\n"]
    groups: Mapping[Any, Any] = known.groupby(["split", "label"], dropna=False).indices
    for names, rows in sorted(groups.items()):
        parts.append(json.dumps([None if name == " " else name[1:] for name in names]) + "\n")
        parts += [f"{digest}\n" for digest in np.sort(digests[rows])]
    return "".join(parts)


def read_lock(path: Path) -> pd.DataFrame:
    """Read a lock.

    Returns:
        Columns ``content_id`` (as the lock writes it), ``split, label``; one row per image.

    Raises:
        ConfigError: no such file, not a lock, a lock of a newer version, or an invalid line, with its number.
    """
    try:
        content = path.read_bytes().replace(b"\r\n", b"\n")
    except FileNotFoundError:
        raise ConfigError(path, "no such lock", f"write one with: imagenet-audit lock RUN --out {path}") from None
    return parse_lock(content, path)


def parse_lock(content: bytes, path: Path) -> pd.DataFrame:
    """Parse a lock's text; see `read_lock`. Raises ConfigError with the path and the line."""
    if not content:
        raise ConfigError(path, "is empty, so there is no accepted version yet", "pass --first-run, or write it with: imagenet-audit lock RUN")
    head, _, body = content.partition(b"\n")
    found = re.fullmatch(rb"imagenet-audit lock (\d+)", head)
    if not found:
        raise ConfigError(f"{path}:1", "is not an imagenet-audit lock", "write one with: imagenet-audit lock RUN --out FILE")
    if int(found[1]) > _VERSION:
        problem = f"was written by a newer version (lock format {int(found[1])}; this version reads up to {_VERSION})"
        raise ConfigError(f"{path}:1", problem, "update imagenet-audit")
    groups = list(_GROUP.finditer(body))
    ends = [*(group.start() for group in groups[1:]), len(body)][: len(groups)]
    frames, line = [], 2
    if body and (not groups or groups[0].start()):
        raise _invalid_line(path, line)
    for group, end in zip(groups, ends, strict=True):
        split, label = _names(path, line, group[0])
        digests = _digests(path, line + 1, body[group.end() : end])
        frames.append(pd.DataFrame({"content_id": digests, "split": split, "label": label}))
        line += 1 + len(digests)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({"content_id": [], "split": [], "label": []}, dtype=object)


def changes_since(locked: pd.DataFrame, samples: pd.DataFrame) -> SampleChanges:
    """Return the changes of the samples since a lock was written.

    A lock stores no file names, so nothing counts as renamed, and a file with new bytes counts as one image removed and one added. Removed samples
    are named by their digest.

    Args:
        locked: as `read_lock` returns it.
        samples: columns `audit.diff.sample_changes.COLUMNS`.
    """
    after = one_label(samples)
    known = after.assign(content_id=_digest_texts(after))
    before = locked.assign(sample_id="lock: " + locked["content_id"].astype(str))[["sample_id", "content_id", "split", "label"]]
    old_of = match(before, known)
    names = before["sample_id"].to_numpy(object)
    names[old_of[old_of >= 0]] = after["sample_id"].to_numpy(object)[old_of >= 0]
    return sample_changes(before.assign(sample_id=names), known, old_of)


def read_content(source: Source, advance: Callable[[int], None]) -> pd.DataFrame:
    """Read and hash every image's bytes without decoding them.

    Args:
        source: the dataset.
        advance: called with the number of images read since the last call.

    Returns:
        Columns `audit.diff.sample_changes.COLUMNS`.

    Raises:
        AuditError: the dataset cannot be listed completely.
    """
    from audit.ingest.listing import list_samples
    from audit.io.artifacts import to_frame

    with readable(source.location):
        table, problems = list_samples(source, lambda _: None)
    refuse_unlisted(source.location, [problem.message for problem in problems if problem.kind == NOT_LISTED])
    samples = to_frame(table)
    content: list[str | None] = []
    for reference in samples["source_ref"]:
        content.append(_content_id(source, reference))
        advance(1)
    return samples.assign(content_id=pd.Series(content, samples.index, object))[["sample_id", "content_id", "split", "label", "labels"]]


def refuse_unlisted(where: object, not_listed: Sequence[str]) -> None:
    """Refuse to lock a dataset that could not be listed completely: the lock would make the loss a version. Raises AuditError."""
    if not_listed:
        problem, _, hint = not_listed[0].rstrip(".").rpartition("; ")
        raise AuditError(where, f"cannot be locked: {problem}", hint)


def _content_id(source: Source, reference: str) -> str | None:
    try:
        return hashlib.sha256(source.read(reference)).hexdigest()
    except AuditError:
        raise
    except Exception:  # noqa: BLE001  storage libraries raise their own types; as in a scan, one unreadable file must not stop the rest
        return None


def _digest_texts(samples: pd.DataFrame) -> npt.NDArray[np.object_]:
    pairs = zip(samples["content_id"].astype(object).where(samples["content_id"].notna(), None), samples["sample_id"], strict=True)
    digests = bytes.fromhex("".join(identity(content_id, sample_id)[: 2 * _DIGEST_BYTES] for content_id, sample_id in pairs))
    padded = np.zeros((len(samples), _PADDED_BYTES), np.uint8)
    padded[:, :_DIGEST_BYTES] = np.frombuffer(digests, np.uint8).reshape(-1, _DIGEST_BYTES)
    text = np.frombuffer(base64.b64encode(padded.tobytes()), np.uint8).reshape(len(samples), 24)
    return _texts(text[:, : BYTES_PER_IMAGE - 1])


def _texts(characters: npt.NDArray[np.uint8]) -> npt.NDArray[np.object_]:
    width = characters.shape[1]
    return np.ascontiguousarray(characters).view(f"S{width}").ravel().astype(f"U{width}").astype(object)


def _names(path: Path, line: int, text: bytes) -> tuple[Any, Any]:
    try:
        names = json.loads(text)
    except ValueError:
        raise _invalid_line(path, line) from None
    if len(names) != 2 or not all(name is None or isinstance(name, str) for name in names):
        raise _invalid_line(path, line)
    return names[0], names[1]


def _digests(path: Path, line: int, block: bytes) -> npt.NDArray[np.object_]:
    """Return one group's digests; ``line`` is the number of the first."""
    if len(block) % BYTES_PER_IMAGE == 0:
        characters = np.frombuffer(block, np.uint8).reshape(-1, BYTES_PER_IMAGE)
        whole = np.isin(characters[:, :-1], _ALPHABET).all(axis=1) & (characters[:, -1] == ord("\n"))
        if whole.all():
            return _texts(characters[:, :-1])
    for number, text in enumerate(block.split(b"\n")):
        if not re.fullmatch(rb"[A-Za-z0-9+/]{22}", text):
            raise _invalid_line(path, line + number)
    raise _invalid_line(path, line)


def _invalid_line(path: Path, line: int) -> ConfigError:
    return ConfigError(
        f"{path}:{line}", "is neither a [split, class] line nor an image digest", "resolve the merge conflict, or write the lock again"
    )
