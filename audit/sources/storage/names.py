"""File names: which are images, which are hidden, and how arbitrary bytes are written as valid, reversible text.

Inside the package, a path is decoded from UTF-8 with ``surrogateescape``, as Python does for operating system paths.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

IMAGE_EXTENSIONS = frozenset(
    (  # noqa: SIM905  as a list, one line each
        "jpg jpeg jpe jfif jif png apng webp gif bmp dib tif tiff jp2 j2k j2c jpx jpf jpc avif avifs heic heif ppm pgm pbm pnm "
        "pfm ico tga pcx sgi rgb ras sun exr hdr dds psd jxl qoi xbm xpm dcm dicom "
        "dng cr2 cr3 nef nrw arw srw orf rw2 raf pef"
    ).split()
)
"""Extensions of image files, without the dot, in lower case; the second line has those of cameras' raw files."""

_DOWNLOADED = re.compile(r"(?:\?[^/]*|\.\d{1,3}|[ _]?\(\d+\))$")
"""What downloaders add to a name: the query of its URL, or a number if the name was taken."""

HIDDEN = "(hidden)"
UNSAFE = "(unsafe path)"

_LITTER = frozenset({"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin"})
_SURROGATE = re.compile("[\udc80-\udcff]+")


def extension(path: str) -> str:
    """Return a path's extension in lower case, with its dot; ``(no extension)`` if it has none."""
    name = path.rpartition("/")[2]
    stem, dot, last = name.rpartition(".")
    return sample_id("." + last.lower()) if dot and stem and last else "(no extension)"


def is_image(path: str) -> bool:
    """Return whether a path's extension is that of an image file."""
    return extension(path)[1:] in IMAGE_EXTENSIONS


def is_renamed_image(path: str) -> bool:
    """Return whether a path's extension was that of an image before a downloader added to the name.

    >>> is_renamed_image("a.jpg?w=500"), is_renamed_image("a.jpg.1"), is_renamed_image("a.1")
    (True, True, False)
    """
    name = path.rpartition("/")[2]
    return is_image(_DOWNLOADED.sub("", name)) and not is_image(name)


def is_hidden(path: str) -> bool:
    """Return whether any part of a path is hidden or operating system litter: ``.git/x``, ``__MACOSX/x``, ``a/Thumbs.db``."""
    return any(part.startswith(".") or part.lower() in _LITTER for part in path.split("/"))


def safe_relative(path: str) -> str | None:
    """Return an archive member's name without empty and ``.`` parts; None if it points outside: ``../x``, ``/x``, ``C:/x``.

    >>> safe_relative("./a//b.jpg")
    'a/b.jpg'
    >>> safe_relative("a/../../b.jpg") is None
    True
    """
    if path.startswith(("/", "\\")) or re.match(r"^[A-Za-z]:[/\\]", path) or "\0" in path:
        return None
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return None if ".." in parts or not parts else "/".join(parts)


def is_inside(path: str) -> bool:
    """Return whether a relative path stays below its folder; references in a run that somebody else made may not."""
    return not path.startswith("/") and ".." not in path.split("/")


def sample_id(path: str) -> str:
    r"""Return a path as valid UTF-8: invalid bytes become ``\xff``."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def escape(path: str) -> str:
    """Return a path as valid UTF-8 that `unescape` reverses: ``%`` and invalid bytes become ``%XX``."""
    path = path.replace("%", "%25")
    return _SURROGATE.sub(lambda found: "".join(f"%{ord(char) - 0xDC00:02X}" for char in found.group()), path)


def unescape(text: str) -> str:
    """Return the path that `escape` was given."""
    return unquote(text, errors="surrogateescape")
