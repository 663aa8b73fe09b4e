"""The reason why an image file cannot be copied without metadata."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818  the file may be fine; a clean lossless copy is what cannot be made
    """No clean copy of a file can be made without loss; the message is the reason."""
