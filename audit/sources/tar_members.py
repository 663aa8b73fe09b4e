"""The members of a tar, by offset, without keeping them: a million-image archive costs one object at a time."""

from __future__ import annotations

import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from audit.errors import SourceError
from audit.sources.names import UNSAFE, safe_relative

_DAMAGE = (tarfile.TarError, EOFError, OSError, ValueError, zlib.error)
"""What ``tarfile`` and ``gzip`` raise of damaged archives; ValueError for sizes that no file can have."""


class Member(NamedTuple):
    """One regular file of a tar."""

    path: str
    offset: int
    """Where its bytes start in the tar."""
    size: int
    fingerprint: str


def read_members(file: BinaryIO, place: str, state: str, ignored: Counter[str], notes: list[str]) -> Iterator[Member]:
    """Yield a tar's regular files.

    Names that lead outside (``../x``, ``/x``), links, devices and sparse files are counted in ``ignored`` and never opened. An archive that ends
    early or is damaged
    midway yields what comes before, with a note.

    A fingerprint is a member's size, modification time and header checksum, not its offset nor the archive's own time: an archive of a million images
    that was
    rewritten with one of them changed costs one image. Members of archives packed without times (all 0) would hide a change of content, so they carry
    the
    archive's ``state`` too.

    Args:
        file: the tar, at its first byte.
        place: the archive, for messages.
        state: the fingerprint of the archive itself.
        ignored: counts by reason, added to.
        notes: sentences for the user, added to.

    Raises:
        SourceError: the file is no tar at all.
    """
    try:
        archive = tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115 - closing is the caller's
    except _DAMAGE as error:
        raise SourceError(place, f"is no tar that can be read ({error})", "download it again or check that it is complete") from error
    listed = 0
    while True:
        try:
            member = archive.next()
        except _DAMAGE as error:
            notes.append(f"{place}: the archive breaks off ({error}) after {listed} files; what follows is not listed")
            return
        if member is None:
            break
        archive.members.clear()  # type: ignore[attr-defined] # tarfile would keep every header
        listed += 1
        if not member.isreg() or member.issparse():
            if not member.isdir():
                ignored["(link)" if member.issym() or member.islnk() else "(special file)"] += 1
            continue
        path = safe_relative(member.name)
        if path is None:
            ignored[UNSAFE] += 1
            continue
        yield Member(path, member.offset_data, member.size, _fingerprint(member, state))
    try:
        file.seek(archive.offset)
        behind = file.read(tarfile.BLOCKSIZE)
    except _DAMAGE as error:
        notes.append(f"{place}: the archive breaks off ({error}) after {listed} files; what follows is not listed")
        return
    if behind.strip(b"\0"):
        notes.append(f"{place}: a damaged header at byte {archive.offset}, after {listed} files; what follows is not listed")


def _fingerprint(member: tarfile.TarInfo, state: str) -> str:
    known = f"{member.size}-{member.mtime}-{member.chksum}"
    return known if member.mtime else f"{known}-{state}"
