"""Turn the errors of storage libraries and parsers into one-line SourceErrors."""

from __future__ import annotations

import csv
import errno
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from audit.errors import AuditError, SourceError, reason

_CORRUPTION = (OSError, EOFError, UnicodeError, csv.Error, tarfile.TarError, zlib.error, pa.ArrowException)
_MACHINE_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.EACCES, errno.EPERM})
"""Errors of this machine, not of the dataset; the command line has hints for them."""


@contextmanager
def readable(location: str) -> Iterator[None]:
    """Raise SourceError for any error while a location is listed.

    Libraries behind URLs raise their own exception types, so every error counts there; on a local disk, only the types that corrupt files raise.
    """
    try:
        yield
    except AuditError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _MACHINE_ERRORS:
            raise
        if not isinstance(error, _CORRUPTION) and "://" not in location:
            raise
        raise SourceError(location, f"cannot be listed ({reason(error)})", _hint(location, error)) from error


def _hint(location: str, error: Exception) -> str:
    if isinstance(error, ImportError):
        return "install the packages that this URL scheme needs, then run the same command again"
    if "://" in location:
        return "check the URL and the connection, then run the same command again"
    return "check that the file is complete, or copy it again"
