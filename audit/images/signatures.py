"""Recognise files by their first bytes: images, and what is stored under the names of images instead."""

from __future__ import annotations

import re
from collections.abc import Callable

HEAD_BYTES = 4096
"""Bytes from the start of a file that are enough to recognise it."""

_IMAGES: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("JPEG", lambda head: head.startswith(b"\xff\xd8\xff")),
    ("PNG", lambda head: head.startswith(b"\x89PNG\r\n\x1a\n")),
    ("GIF", lambda head: head.startswith((b"GIF87a", b"GIF89a"))),
    ("WEBP", lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP"),
    ("BMP", lambda head: head.startswith(b"BM") and head[6:10] == b"\0\0\0\0"),
    ("TIFF", lambda head: head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))),
    ("JPEG2000", lambda head: head.startswith((b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"))),
    ("AVIF", lambda head: head[4:12] in {b"ftypavif", b"ftypavis"}),
    ("HEIC", lambda head: head[4:12] in {b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypheif", b"ftypmsf1", b"ftyphevc"}),
    ("JPEG XL", lambda head: head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"))),
    ("DICOM", lambda head: head[128:132] == b"DICM"),
    ("camera raw", lambda head: head[4:12] == b"ftypcrx " or head.startswith((b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"IIU\0"))),
    ("PPM", lambda head: re.match(rb"P[1-6]\s+\d+\s+\d+\s", head) is not None),
)

_BASE64_IMAGE = re.compile(rb"(?:data:image/|/9j/|iVBORw0KGgo|R0lGOD|UklGR)")
_TEXT = re.compile(rb"[^\x00-\x08\x0e-\x1a\x1c-\x1f]*")


def image_format(head: bytes) -> str | None:
    """Return the image format that a file's first bytes announce; None for anything else."""
    return next((name for name, matches in _IMAGES if matches(head)), None)


_OTHERS: tuple[tuple[str, str, Callable[[bytes, bytes], bool]], ...] = (
    ("a Git LFS pointer", "run git lfs pull (in CI: lfs: true)", lambda start, _: start.startswith(b"version https://git-lfs.github.com/spec/")),
    ("a git-annex pointer", "run git annex get", lambda start, _: re.match(rb"(?:\.\./)*(?:\.git/|/)annex/objects/", start) is not None),
    ("an HTML page", "download it again", lambda _, lower: lower.startswith((b"<!doctype html", b"<")) and b"<html" in lower),
    ("SVG, which is not a raster image", "render it to PNG", lambda _, lower: lower.startswith(b"<") and b"<svg" in lower),
    ("XML", "download it again", lambda _, lower: lower.startswith((b"<?xml", b"<error"))),
    ("JSON", "download it again", lambda start, _: start[:1] in (b"{", b"[") and _is_text(start)),
    ("an image as base64 text", "decode the text to bytes", lambda start, _: _BASE64_IMAGE.match(start) is not None),
    ("a PDF document", "export its images", lambda start, _: start.startswith(b"%PDF-")),
    ("an archive", "extract it", lambda start, _: start.startswith((b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!"))),
    ("text", "download it again", lambda start, _: bool(start) and _is_text(start)),
)


def not_an_image(head: bytes) -> tuple[str, str] | None:
    """Return what a file contains instead of an image, and what to do about it; None if its first bytes do not say.

    Args:
        head: at least the first `HEAD_BYTES` bytes of the file.
    """
    if head and not any(head):
        return "only zero bytes at its start, as left by an interrupted copy", "copy it again"
    start = head[:HEAD_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n")
    lower = start[:512].lower()
    return next(((what, fix) for what, fix, matches in _OTHERS if matches(start, lower)), None)


def _is_text(data: bytes) -> bool:
    if _TEXT.fullmatch(data) is None:
        return False
    try:
        data[:-3].decode("utf-8")  # the last character may be cut
    except UnicodeDecodeError as problem:
        return problem.start >= len(data) - 7
    return True
