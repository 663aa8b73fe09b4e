"""Files next to the images that hold labels or images of their own: what is read, what is offered, and what is only named."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

from audit.errors import SourceError
from audit.io.console import counted
from audit.sources.annotations.given_labels import read_given
from audit.sources.annotations.label_files import Labels
from audit.sources.annotations.layout import split_in
from audit.sources.base import SourceOptions
from audit.sources.storage.names import extension
from audit.sources.storage.problems import EXAMPLES, Problem, Tally, named

STANDARD_TABLES = frozenset({"metadata.csv", "metadata.jsonl", "_classes.csv"})
"""Tables that Hugging Face's image folders and Roboflow's exports define: names relative to the table's folder, then labels."""

_TABLES = (".csv", ".tsv", ".jsonl")
_CONTAINERS = frozenset(
    (  # noqa: SIM905  as a list, one line each
        ".zip .tar .tgz .gz .bz2 .xz .7z .rar .parquet .arrow .tfrecord .tfrec .h5 .hdf5 .npz .npy .pkl .pickle .mat .mdb "
        ".mp4 .avi .mov .mkv .webm .pdf"
    ).split()
)
_NUMBERED = re.compile(r"([A-Za-z][A-Za-z_ -]*[A-Za-z]|[A-Za-z])[._ -]*\(?\d+")
"""A file name of a word and a number."""
_MOST_WORDS = 200
_MOST_TABLES = 20
_MOST_BYTES = 64 << 20
_STEMS = 200


@dataclass(slots=True)
class SideFiles:
    """Files of a tree that are not images."""

    read: Callable[[str], bytes]
    """Returns the bytes of a file, given its reference. Raises OSError."""
    tables: dict[str, str] = field(default_factory=dict)
    """References of tables by path."""
    containers: Tally = field(default_factory=Tally)
    sidecars: dict[str, list[str]] = field(default_factory=dict)
    """Base names without extension of the first .xml and .txt files."""
    counts: dict[str, int] = field(default_factory=dict)
    coco: list[str] = field(default_factory=list)

    def add(self, path: str, ref: str) -> None:
        """Note a file."""
        ending = extension(path)
        if ending in _TABLES:
            if len(self.tables) < _MOST_TABLES or path.rpartition("/")[2] in STANDARD_TABLES:
                self.tables[path] = ref
        elif ending in (".xml", ".txt"):
            if ending == ".txt" and len(self.tables) < _MOST_TABLES:
                self.tables[path] = ref
            self.counts[ending] = self.counts.get(ending, 0) + 1
            stems = self.sidecars.setdefault(ending, [])
            if len(stems) < _STEMS:
                stems.append(path.rpartition("/")[2].rpartition(".")[0])
        elif ending == ".json" and len(self.coco) < EXAMPLES and "annotation" in path.lower() + ("annotation" if "coco" in path.lower() else ""):
            self.coco.append(path)
        elif ending in _CONTAINERS:
            self.containers.add(repr(path))

    def standard(self, dataset: str, options: SourceOptions) -> Iterator[Labels | Problem]:
        """Yield the labels of the standard tables, or a problem for a table that cannot be read."""
        for path, ref in sorted(self.tables.items()):
            folder, _, name = path.rpartition("/")
            if name in STANDARD_TABLES:
                try:
                    yield read_given(f"{dataset}/{path}", self.read(ref), options, folder)
                except (SourceError, OSError) as error:
                    problem = f"the labels in {path} are not read ({error})"
                    yield Problem(
                        kind="unused_labels", severity="info", problem=problem, hint="repair it, or pass another table as --labels (labels_file)"
                    )

    def offered(self, dataset: str, options: SourceOptions, images: Callable[[], Iterable[str]]) -> Iterator[Problem]:
        """Yield a problem for every table that lists images, and for annotations in other formats.

        Args:
            dataset: the location, for messages.
            options: the columns of the tables.
            images: returns the paths of all images.
        """
        tables: list[Labels] = []
        for path, ref in sorted(self.tables.items()):
            if path.rpartition("/")[2] not in STANDARD_TABLES:
                found = self._candidate(dataset, path, ref, options)
                if isinstance(found, Problem):
                    yield found
                elif found is not None:
                    tables.append(found)
        total = 0
        for image in images() if tables else ():
            total += 1
            for labels in tables:
                labels.find(image, image)
        for labels in tables:
            if labels.found:
                problem = f"none of the {counted(total, 'image')} has a label, but {labels.path} lists {labels.found:,} of them"
                hint = f"pass --labels {labels.path} (labels_file)"
                yield Problem(kind="unused_labels", problem=problem, hint=hint, evidence={"entries": labels.found, "names": [labels.path]})
        yield from self._sidecars(images)
        yield from _named_classes(images)

    def _candidate(self, dataset: str, path: str, ref: str, options: SourceOptions) -> Labels | Problem | None:
        """Read a table that may list the images; a problem if only the name of a column is missing."""
        try:
            data = self.read(ref)
            return read_given(f"{dataset}/{path}", data, options, path.rpartition("/")[0]) if len(data) <= _MOST_BYTES else None
        except SourceError as error:
            if "column" not in error.problem:
                return None
            problem = f"the images have no labels, and {path} may list them, but it {error.problem}"
            return Problem(kind="unused_labels", severity="info", problem=problem, hint=f"pass it as --labels {dataset}/{path}; {error.hint}")
        except OSError:
            return None

    def _sidecars(self, images: Callable[[], Iterable[str]]) -> Iterator[Problem]:
        if self.sidecars:
            wanted = {ending: set(stems) for ending, stems in self.sidecars.items()}
            hits = dict.fromkeys(wanted, 0)
            for image in images():
                stem = image.rpartition("/")[2].rpartition(".")[0]
                for ending, stems in wanted.items():
                    hits[ending] += stem in stems
            for ending, kind, what in ((".xml", "voc", "annotations of Pascal VOC"), (".txt", "yolo", "annotations of YOLO")):
                if hits.get(ending, 0) * 2 > len(wanted.get(ending, ())):
                    problem = f"{counted(self.counts[ending], f'{ending} file')} with the names of images look like {what}, and are not read"
                    hint = f"pass --kind {kind} to read their classes as labels"
                    yield Problem(kind="unused_labels", problem=problem, hint=hint, evidence={"entries": self.counts[ending]})
        if self.coco:
            problem = f"annotations are not read: {named(map(repr, self.coco), len(self.coco))}"
            hint = "if they are in COCO's format, pass --kind coco to read their categories as labels"
            yield Problem(kind="unused_labels", problem=problem, hint=hint, evidence={"names": self.coco})

    def unread(self) -> Iterator[Problem]:
        """Yield a problem for archives, tables of arrays and videos among the images."""
        if count := self.containers.count:
            problem = f"{counted(count, 'file')} next to the images may contain images that are not listed: {self.containers}"
            hint = "scan each of them separately, extract them, or move them away"
            yield Problem(kind="unread_containers", severity="info", problem=problem, hint=hint, evidence={"entries": count})


def _named_classes(images: Callable[[], Iterable[str]]) -> Iterator[Problem]:
    """Yield a problem if file names start with what look like classes: ``cat.0.jpg``, ``dog_17.jpg``."""
    words: Counter[str] = Counter()
    others = 0
    for image in images():
        found = _NUMBERED.match(image.rpartition("/")[2])
        if found is not None:
            words[found[1]] += 1
        else:
            others += 1
    if 2 <= len(words) <= _MOST_WORDS and others * 20 <= words.total() and min(words.values()) > 1 and not all(map(split_in, words)):
        problem = f"the images have no labels, but their file names start with {counted(len(words), 'word')} that may be classes: "
        problem += named(map(repr, sorted(words)), len(words))
        hint = "if they are, pass a table of file names and labels as --labels FILE (labels_file)"
        evidence = {"entries": words.total(), "names": sorted(words)[:EXAMPLES]}
        yield Problem(kind="unused_labels", severity="info", problem=problem, hint=hint, evidence=evidence)


def repeated_names(images: Iterable[str]) -> Collection[str]:
    """Return the base names, with and without extension, that several images have."""
    seen: set[str] = set()
    again: set[str] = set()
    for image in images:
        base = image.rpartition("/")[2]
        for name in {base, base.rpartition(".")[0]}:
            (again if name in seen else seen).add(name)
    return again
