"""References to members of tars: archive, offset and size."""

from __future__ import annotations

from audit.sources.storage.files import Storage
from audit.sources.storage.names import escape, is_inside, unescape


def member_ref(archive: str, offset: int, size: int) -> str:
    """Return a reference to a byte range of an archive; ``archive`` is relative to the storage's root, ``""`` is the root itself."""
    return f"{escape(archive)}#{offset}+{size}"


def read_ref(storage: Storage, source_ref: str) -> bytes:
    """Return the bytes of a `member_ref`, or of a plain file below the root. Raises OSError."""
    if not is_inside(unescape(source_ref)):
        raise PermissionError(f"{source_ref!r} is outside of {storage.location}")
    archive, mark, span = source_ref.rpartition("#")
    offset, plus, size = span.partition("+")
    if not (mark and plus and offset.isdigit() and size.isdigit()):
        return storage.read(storage.join(storage.root, unescape(source_ref)))
    name = unescape(archive)
    return storage.read_range(storage.join(storage.root, name) if name else storage.root, int(offset), int(size))
