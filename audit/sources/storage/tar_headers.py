"""Find the next valid tar header after a corrupt one: every header is a block of 512 bytes with its own checksum."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

import numpy as np

_BLOCKS_AT_ONCE = 2048

_CHECKSUM = slice(148, 156)
_OCTAL = np.zeros(256, bool)
_OCTAL[list(b"01234567 \0")] = True

_EXTENSIONS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
"""Headers that extend the next one; their own name has no meaning."""


class Gap(NamedTuple):
    """The bytes before the next header, or before the archive's end."""

    start: int
    stop: int
    found: bool
    """Whether a header starts at ``stop``; otherwise the archive ends there."""
    blank: bool
    """Whether all bytes are zero, as after a tar's end mark."""


def find_header(file: BinaryIO, start: int, accepts: Callable[[str], bool]) -> Gap:
    """Find the first valid header after a block that is not one.

    Args:
        file: the tar.
        start: byte of that block, a multiple of 512.
        accepts: whether a name may be a member of this archive; a member may itself be a tar, whose headers must not count.

    Raises:
        OSError: the file cannot be read; decompression errors are raised as well.
    """
    file.seek(start)
    first = file.read(tarfile.BLOCKSIZE)
    blank, at = not first.strip(b"\0"), start + len(first)
    while data := file.read(_BLOCKS_AT_ONCE * tarfile.BLOCKSIZE):
        blocks = np.frombuffer(data[: len(data) // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE], np.uint8).reshape(-1, tarfile.BLOCKSIZE)
        for row in np.flatnonzero(_OCTAL[blocks[:, _CHECKSUM]].all(axis=1) & (blocks[:, 0] != 0)).tolist():
            if _is_header(blocks[row].tobytes(), accepts):
                return Gap(start, at + row * tarfile.BLOCKSIZE, found=True, blank=blank and not blocks[:row].any())
        blank = blank and not data.strip(b"\0")
        at += len(data)
    return Gap(start, at, found=False, blank=blank)


def _is_header(block: bytes, accepts: Callable[[str], bool]) -> bool:
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return header.type in _EXTENSIONS or accepts(header.name)
