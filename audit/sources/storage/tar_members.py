"""Stream the members of a tar with their offsets: an archive of a million images needs one object at a time."""

from __future__ import annotations

import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from audit.errors import SourceError
from audit.sources.storage.names import UNSAFE, safe_relative
from audit.sources.storage.problems import NOT_LISTED, Problem
from audit.sources.storage.tar_headers import Gap, find_header

_CORRUPTION = (tarfile.TarError, EOFError, OSError, ValueError, zlib.error)
"""Errors that ``tarfile`` and ``gzip`` raise for corrupt archives; ValueError for impossible sizes."""

_MAX_PADDING = 1 << 20
"""Zero bytes after the end mark that are normal: tar pads to its blocking factor, 10 KiB by default, 1 MiB at most in practice.
Interrupted downloads that allocate the whole file first leave more."""


class Member(NamedTuple):
    """One regular file of a tar."""

    path: str
    offset: int
    """Byte at which its content starts in the tar."""
    size: int
    fingerprint: str


def read_members(
    file: BinaryIO, name: str, state: str, ignored: Counter[str], problems: list[Problem], accepts: Callable[[str], bool] = lambda _: True
) -> Iterator[Member]:
    """Yield a tar's regular files.

    Names that point outside (``../x``, ``/x``), links, devices and sparse files are counted in ``ignored`` and never opened. After a corrupt header,
    listing continues at the next valid one; skipped bytes and archives that end early are problems.

    A fingerprint is a member's size, modification time and header checksum, without its offset and the archive's own time: rewriting an archive of a
    million images with one of them changed costs one image. Without modification times (all 0) a change of content would go unnoticed, so such
    members also carry the archive's ``state``.

    Args:
        file: the tar, at its first byte.
        name: the archive's name, for messages.
        state: the fingerprint of the archive.
        ignored: counts by reason; updated.
        problems: updated; complete once all members are yielded.
        accepts: see `find_header`.

    Raises:
        SourceError: the file is not a tar.
    """
    archive, start = _open(file, name, accepts)
    gaps = [Gap(0, start, found=True, blank=False)] if start else []
    while True:
        member, reason = None, ""
        try:
            member = archive.next()
        except _CORRUPTION as error:
            reason = str(error) or type(error).__name__
        if member is not None:
            archive.members.clear()  # type: ignore[attr-defined] # tarfile would keep every header
            yield from _regular(member, state, ignored)
            continue
        try:
            gap = find_header(file, archive.offset, accepts)
        except _CORRUPTION as error:
            problems.append(_truncated(name, archive.offset, str(error)))
            break
        if not gap.found:
            gaps += _ended(name, gap, reason, problems)
            break
        if gap.blank:
            problems.append(_continues(name, gap))
        else:
            gaps.append(gap)
        archive.offset = gap.stop
    if gaps:
        problems.append(_not_listed(name, gaps))


def _open(file: BinaryIO, name: str, accepts: Callable[[str], bool]) -> tuple[tarfile.TarFile, int]:
    """Open a tar at its first valid header; also return that header's byte."""
    start = 0
    while True:
        file.seek(start)
        try:
            return tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape"), start
        except _CORRUPTION as error:
            reason = str(error)
        try:
            gap = find_header(file, start, accepts)
        except _CORRUPTION:
            gap = Gap(start, start, found=False, blank=False)
        if not gap.found:
            raise SourceError(name, f"is not a readable tar ({reason})", "download it again, or check that it is complete")
        start = gap.stop


def _regular(member: tarfile.TarInfo, state: str, ignored: Counter[str]) -> Iterator[Member]:
    path = safe_relative(member.name)
    if member.isdir():
        return
    if not member.isreg() or member.issparse():
        ignored["(link)" if member.issym() or member.islnk() else "(special file)"] += 1
    elif path is None:
        ignored[UNSAFE] += 1
    else:
        yield Member(path, member.offset_data, member.size, _fingerprint(member, state))


def _ended(name: str, gap: Gap, reason: str, problems: list[Problem]) -> list[Gap]:
    """Report problems at the archive's end; return the part that was not listed."""
    size = gap.stop - gap.start
    if (not size and reason) or (0 < size < tarfile.BLOCKSIZE and not gap.blank):
        problems.append(_truncated(name, gap.start, reason or "inside a header"))
        return []
    if not size:
        problem = f"{name} has no end-of-archive mark, so it may be truncated"
        problems.append(Problem(kind="no_end_mark", problem=problem, hint="compare it with the original, or recreate it", evidence={"archive": name}))
    return [gap] if not gap.blank or size > _MAX_PADDING else []


def _truncated(name: str, start: int, reason: str) -> Problem:
    problem = f"{name} is truncated at byte {start:,} ({reason}); the rest could not be listed"
    return Problem(kind=NOT_LISTED, severity="error", problem=problem, hint="download it again", evidence={"archive": name, "start": start})


def _continues(name: str, gap: Gap) -> Problem:
    problem = f"{name} has members after its end-of-archive mark, from byte {gap.stop:,}: they are listed, but most tools stop at the mark"
    return Problem(kind="behind_end_mark", problem=problem, hint="recreate the archive", evidence={"archive": name, "start": gap.stop})


def _not_listed(name: str, gaps: list[Gap]) -> Problem:
    size, start = sum(gap.stop - gap.start for gap in gaps), gaps[0].start
    position = f"from byte {start:,}" if len(gaps) == 1 else f"in {len(gaps):,} gaps, the first at byte {start:,}"
    evidence = {"archive": name, "start": start, "bytes": size, "places": len(gaps)}
    problem = f"{size:,} bytes of {name} could not be listed {position}"
    return Problem(kind=NOT_LISTED, severity="error", problem=problem, hint="recreate the archive, or download it again", evidence=evidence)


def _fingerprint(member: tarfile.TarInfo, state: str) -> str:
    known = f"{member.size}-{member.mtime}-{member.chksum}"
    return known if member.mtime else f"{known}-{state}"
