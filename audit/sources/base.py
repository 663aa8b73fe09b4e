"""The interface that every source implements, and the options that select and configure one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from audit.errors import ConfigError
from audit.sources.storage.problems import Problem


@dataclass(frozen=True, slots=True)
class Sample:
    """One listed image; its bytes have not been read."""

    sample_id: str
    """Path or key inside the source, '/' separated, valid UTF-8, unique: ``train/tench/7.jpg``."""
    source_ref: str
    """Reference with which this source reads the bytes; valid UTF-8."""
    fingerprint: str
    """Changes when the bytes may have changed; computed without reading them, from size and modification time or a store's tag."""
    split: str | None = None
    label: str | None = None
    labels: tuple[str, ...] | None = None
    """Labels of a multi-label image; ``label`` is then None."""
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How to read a dataset. By default, everything is detected."""

    kind: str = "auto"
    """Source kind (see ``docs/sources.md``); ``auto`` detects it."""
    labels_file: str | None = None
    """Labels for images whose folder is not their class: lines of ``name label``, or a CSV."""
    layout: str | None = None
    """What the levels of folders are: ``split/class``, ``domain/class``, ``*/class``, ``flat``; any other word names a metadata column."""
    objects: bool = False
    """Make each annotated object of a ``coco``, ``voc`` or ``yolo`` source one sample: its crop with a margin."""
    path_column: str | None = None
    label_column: str | None = None
    split_column: str | None = None
    image_column: str | None = None
    """Parquet column with the image bytes."""
    split: str | None = None
    """Split of every sample; overrides folders and columns."""
    group_column: str | None = None
    """Column with what several images share, such as the patient, product, video or sender; see ``docs/sources.md``."""
    group_pattern: str | None = None
    """Regular expression, searched in the sample id; its first group, or else its match, is the image's group."""
    class_words_file: str | None = None
    """Readable names of labels that are codes: a JSON object, or lines of ``code<TAB>words``."""
    taxonomy_file: str | None = None
    """Class hierarchy: WordNet's ``data.noun``, ILSVRC's ``meta.mat``, lines of parent and child, or a JSON object of child: parent."""
    storage_options: Mapping[str, object] = field(default_factory=dict)
    """fsspec options for URLs: endpoints, profiles, anonymous access."""
    allow_remote: bool = False
    """Whether a table may list images by URL."""

    def __post_init__(self) -> None:
        if self.group_pattern is None:
            return
        if self.group_column is not None:
            raise ConfigError("group_pattern", "contradicts group_column", "use one of them")
        try:
            re.compile(self.group_pattern)
        except re.error as error:
            hint = r"write it as Python's re does, such as '([^/_]+)_[^/]*$'"
            raise ConfigError("group_pattern", f"{self.group_pattern!r} is not a regular expression: {error}", hint) from None


class Source(Protocol):
    """A stored dataset. Picklable: each process opens its own file handles, lazily."""

    kind: str
    """The name of the source kind."""
    location: str
    """The location as the user gave it."""

    def class_words(self, labels: Iterable[str]) -> Mapping[str, str]:
        """Return readable names of labels that are codes: ``n01440764`` -> ``tench, Tinca tinca``. Raises SourceError."""
        ...

    @property
    def ignored(self) -> Mapping[str, int]:
        """Counts of skipped files, by extension or reason; complete once ``collect()`` is exhausted."""
        ...

    @property
    def problems(self) -> Sequence[Problem]:
        """Problems found while listing; complete once ``collect()`` is exhausted."""
        ...

    def collect(self) -> Iterator[Sample]:
        """Yield every image once, in any order, without reading image bytes if the storage allows it."""
        ...

    def read(self, source_ref: str) -> bytes:
        """Return one image's bytes. Raises OSError if they cannot be read."""
        ...
