"""What storage libraries and parsers raise of places that are damaged or out of reach, said in one line."""

from __future__ import annotations

import csv
import errno
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from audit.errors import AuditError, SourceError

_DAMAGE = (OSError, EOFError, UnicodeError, csv.Error, tarfile.TarError, zlib.error, pa.ArrowException)
_OF_THIS_MACHINE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.EACCES, errno.EPERM})
"""Faults that say nothing of the dataset; the command line knows what to do about them."""


@contextmanager
def readable(location: str) -> Iterator[None]:
    """Raise SourceError for whatever goes wrong while a place is listed.

    Libraries behind URLs raise kinds of their own, so there any error counts; on a disk only what damaged files are known to raise.
    """
    try:
        yield
    except AuditError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _OF_THIS_MACHINE:
            raise
        if not isinstance(error, _DAMAGE) and "://" not in location:
            raise
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise SourceError(location, f"cannot be listed ({reason})", _mend(location, error)) from error


def _mend(location: str, error: Exception) -> str:
    if isinstance(error, ImportError):
        return "addresses of this kind need packages of their own: install those, then give the same command"
    return "check the address and the connection, then give the same command" if "://" in location else "check that it is whole; copy it again"
