"""The shape every source has, and the choice among them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from audit.sources.storage.problems import Problem


@dataclass(frozen=True, slots=True)
class Sample:
    """One listed image, before its bytes are read."""

    sample_id: str
    """Path or key inside the source, '/' separated, valid UTF-8, unique: ``train/tench/7.jpg``."""
    source_ref: str
    """How the same source finds the bytes again; valid UTF-8."""
    fingerprint: str
    """Differs when the bytes may differ, found without reading them: size and modification time, a tar member's offset, ..."""
    split: str | None = None
    label: str | None = None
    labels: tuple[str, ...] | None = None
    """Several labels; ``label`` is then None."""
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How to read a dataset. The defaults find everything from the place itself."""

    kind: str = "auto"
    """A kind of source, as ``imagenet-audit`` lists them in ``docs/sources.md``; ``auto`` looks."""
    labels_file: str | None = None
    """A file of ``name label`` lines, a CSV, or ILSVRC's ground truth, for images whose folder is not their class."""
    path_column: str | None = None
    label_column: str | None = None
    split_column: str | None = None
    image_column: str | None = None
    """The column of a Parquet file that holds the images' bytes."""
    split: str | None = None
    """The split of every sample, whatever folders and columns say."""
    class_words_file: str | None = None
    """Words for labels that are codes: a JSON object, or lines of ``code<TAB>words``."""
    taxonomy_file: str | None = None
    """What lies above the classes: WordNet's ``data.noun``, ILSVRC's ``meta.mat``, lines of parent and child, or a JSON object of child: parent."""
    storage_options: Mapping[str, object] = field(default_factory=dict)
    """Passed to fsspec for URLs: endpoints, profiles, anonymous access."""


class Source(Protocol):
    """A dataset as it is stored. Picklable; file handles are opened lazily, per process, never carried."""

    @property
    def kind(self) -> str:
        """The name of the kind of source."""
        ...

    @property
    def location(self) -> str:
        """What the user named."""
        ...

    def class_words(self, labels: Iterable[str]) -> Mapping[str, str]:
        """Return words for those of some labels that are codes: ``n01440764`` -> ``tench, Tinca tinca``. Raises SourceError."""
        ...

    @property
    def ignored(self) -> Mapping[str, int]:
        """Files that were passed over, by extension or reason; complete once ``collect()`` was exhausted."""
        ...

    @property
    def problems(self) -> Sequence[Problem]:
        """What could not be listed, or says too little; complete once ``collect()`` was exhausted."""
        ...

    def collect(self) -> Iterator[Sample]:
        """Yield every image once, in any order, without reading image bytes where the storage allows."""
        ...

    def read(self, source_ref: str) -> bytes:
        """Return one image's bytes. Raises OSError where they cannot be had."""
        ...
