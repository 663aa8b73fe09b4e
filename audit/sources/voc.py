"""Images with Pascal VOC annotations: the names of an image's objects are its labels. Never detected: pass ``--kind voc``."""

from __future__ import annotations

from audit.sources.annotations.annotated import AnnotatedSource
from audit.sources.archives import open_tree
from audit.sources.base import Source, SourceOptions

KIND = "voc"
RANK = 95
OPTIONS = frozenset({"layout", "objects"})


def matches(location: str, options: SourceOptions) -> bool:  # noqa: ARG001
    """Return False: whether annotations are the labels is the user's choice."""
    return False


def open_kind(location: str, options: SourceOptions) -> Source:
    """Open a folder, tar or zip. Raises SourceError."""
    return AnnotatedSource(KIND, location, open_tree(location, options), options)
