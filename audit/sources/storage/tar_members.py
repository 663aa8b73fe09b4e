"""The members of a tar, by offset, without keeping them: a million-image archive costs one object at a time."""

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

_DAMAGE = (tarfile.TarError, EOFError, OSError, ValueError, zlib.error)
"""What ``tarfile`` and ``gzip`` raise of damaged archives; ValueError for sizes that no file can have."""

_MOST_PADDING = 1 << 20
"""Zero bytes behind the end mark that are no wonder: tar pads to its blocking factor, 10 KiB unless asked otherwise, 1 MiB at most in practice.
Downloads that allocate the whole file first leave more."""


class Member(NamedTuple):
    """One regular file of a tar."""

    path: str
    offset: int
    """Where its bytes start in the tar."""
    size: int
    fingerprint: str


def read_members(
    file: BinaryIO, place: str, state: str, ignored: Counter[str], problems: list[Problem], accepts: Callable[[str], bool] = lambda _: True
) -> Iterator[Member]:
    """Yield a tar's regular files.

    Names that lead outside (``../x``, ``/x``), links, devices and sparse files are counted in ``ignored`` and never opened. Behind a damaged header
    the listing goes on at the next whole one; what could not be listed, and an archive that ends early, are problems.

    A fingerprint is a member's size, modification time and header checksum, not its offset nor the archive's own time: an archive of a million images
    that was rewritten with one of them changed costs one image. Members of archives packed without times (all 0) would hide a change of content, so
    they carry the archive's ``state`` too.

    Args:
        file: the tar, at its first byte.
        place: the archive, for messages.
        state: the fingerprint of the archive itself.
        ignored: counts by reason, added to.
        problems: added to; complete once all members were yielded.
        accepts: as `find_header` takes it.

    Raises:
        SourceError: the file is no tar at all.
    """
    archive, start = _open(file, place, accepts)
    gaps = [Gap(0, start, found=True, blank=False)] if start else []
    while True:
        member, reason = None, ""
        try:
            member = archive.next()
        except _DAMAGE as error:
            reason = str(error) or type(error).__name__
        if member is not None:
            archive.members.clear()  # type: ignore[attr-defined] # tarfile would keep every header
            yield from _regular(member, state, ignored)
            continue
        try:
            gap = find_header(file, archive.offset, accepts)
        except _DAMAGE as error:
            problems.append(_breaks_off(place, archive.offset, str(error)))
            break
        if not gap.found:
            gaps += _ended(place, gap, reason, problems)
            break
        if gap.blank:
            problems.append(_goes_on(place, gap))
        else:
            gaps.append(gap)
        archive.offset = gap.stop
    if gaps:
        problems.append(_not_listed(place, gaps))


def _open(file: BinaryIO, place: str, accepts: Callable[[str], bool]) -> tuple[tarfile.TarFile, int]:
    """Open a tar at its first header that can be read; return the byte where that is, too."""
    start = 0
    while True:
        file.seek(start)
        try:
            return tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape"), start
        except _DAMAGE as error:
            reason = str(error)
        try:
            gap = find_header(file, start, accepts)
        except _DAMAGE:
            gap = Gap(start, start, found=False, blank=False)
        if not gap.found:
            raise SourceError(place, f"is no tar that can be read ({reason})", "download it again or check that it is complete")
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


def _ended(place: str, gap: Gap, reason: str, problems: list[Problem]) -> list[Gap]:
    """Note what is wrong about where an archive ends; return what of it was not listed."""
    size = gap.stop - gap.start
    if (not size and reason) or (0 < size < tarfile.BLOCKSIZE and not gap.blank):
        problems.append(_breaks_off(place, gap.start, reason or "inside a header"))
        return []
    if not size:
        problem = f"{place} ends without the mark that ends a tar, so it may be cut short"
        problems.append(Problem(kind="no_end_mark", problem=problem, hint="compare it with its origin, or make it anew", evidence={"archive": place}))
    return [gap] if not gap.blank or size > _MOST_PADDING else []


def _breaks_off(place: str, start: int, reason: str) -> Problem:
    problem = f"{place}: the archive breaks off at byte {start:,} ({reason}), and what followed could not be listed"
    return Problem(kind=NOT_LISTED, severity="error", problem=problem, hint="fetch it again", evidence={"archive": place, "start": start})


def _goes_on(place: str, gap: Gap) -> Problem:
    problem = f"{place} goes on at byte {gap.stop:,} behind the mark that ends a tar: what follows is listed here, but most tools stop at the mark"
    return Problem(kind="behind_end_mark", problem=problem, hint="make the archive anew", evidence={"archive": place, "start": gap.stop})


def _not_listed(place: str, gaps: list[Gap]) -> Problem:
    size, start = sum(gap.stop - gap.start for gap in gaps), gaps[0].start
    where = f"from byte {start:,}" if len(gaps) == 1 else f"in {len(gaps):,} places, the first at byte {start:,}"
    evidence = {"archive": place, "start": start, "bytes": size, "places": len(gaps)}
    problem = f"{size:,} bytes of {place} could not be listed {where}"
    return Problem(kind=NOT_LISTED, severity="error", problem=problem, hint="make the archive anew, or fetch it again", evidence=evidence)


def _fingerprint(member: tarfile.TarInfo, state: str) -> str:
    known = f"{member.size}-{member.mtime}-{member.chksum}"
    return known if member.mtime else f"{known}-{state}"
