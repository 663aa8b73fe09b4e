"""WebDataset shards: tars whose members with one key (``0001.jpg``, ``0001.cls``, ``0001.json``) are one sample."""

from __future__ import annotations

import fnmatch
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import groupby
from typing import Any

from audit.errors import SourceError
from audit.io.console import counted
from audit.sources.annotations.class_words import StoredSource
from audit.sources.annotations.columns import read_labels, read_split, require_column
from audit.sources.annotations.layout import split_of_file, split_word
from audit.sources.base import Sample, Source, SourceOptions
from audit.sources.storage.archives import member_ref, read_ref
from audit.sources.storage.files import Storage
from audit.sources.storage.names import HIDDEN, extension, is_hidden, is_image, sample_id, unescape
from audit.sources.storage.problems import EXAMPLES, NOT_LISTED, HiddenImages, Problem, Tally, named
from audit.sources.storage.tar_members import Member, read_members

KIND = "webdataset"
RANK = 35
OPTIONS = frozenset({"label_column", "split_column"})

_BRACES = re.compile(r"\{([^{}]*)\}")
_SIDE = frozenset({"cls", "json", "txt", "cls.txt", "label"})


class WebDatasetSource(StoredSource):
    """Images in a sequence of tar shards, with their labels in members of the same key."""

    def __init__(self, location: str, options: SourceOptions, folder: Storage, shards: list[str], missing: list[str]) -> None:
        super().__init__(KIND, location, options, folder)
        self._unread, self._unmatched, self._hidden = Tally(), Tally(), HiddenImages()
        self._keys: set[str] = set()
        self._shards = shards
        self._missing = missing

    def collect(self) -> Iterator[Sample]:
        """Yield every image of every shard; read only the label and JSON members.

        Raises:
            SourceError: a shard cannot be read, or no JSON member has the label or split column set in the options.
        """
        self.ignored.clear()
        self.problems[:] = _missing_shards(self.location, self._missing)
        self._unread, self._unmatched, self._hidden = Tally(), Tally(), HiddenImages()
        self._keys.clear()
        for shard in self._shards:
            path = self.storage.join(self.storage.root, shard)
            split = self.options.split or split_of_file(shard)
            with self.storage.open(path) as file:
                members = read_members(file, path, self.storage.fingerprint(path), self.ignored, self.problems)
                for key, group in groupby(members, lambda member: _key(member.path)):
                    yield from self._samples(shard, key, list(group), split)
        for column in (self.options.label_column, self.options.split_column):
            if column is not None:
                require_column(self.location, column, sorted(self._keys))
        self.problems += self._hidden.problems()
        if count := self._unread.count:
            problem = f"no JSON object in {counted(count, 'member')}: {self._unread}; their images are listed without this metadata"
            self.problems.append(Problem(kind="unread_metadata", problem=problem, hint="repair or remove them", evidence={"entries": count}))
        if count := self._unmatched.count:
            problem = f"{counted(count, 'label member')} without an image of the same name next to them: {self._unmatched}"
            self.problems.append(Problem(kind="unmatched_labels", problem=problem, hint="recreate the shards", evidence={"entries": count}))

    def locate(self, wanted: str) -> list[str]:
        """Return the shards and byte offsets that contain a sample id."""
        refs = [sample.source_ref.rpartition("#") for sample in self.collect() if sample.sample_id == wanted]
        return [f"{unescape(shard)} at byte {span.partition('+')[0]}" for shard, _, span in refs]

    def read(self, source_ref: str) -> bytes:
        """Return one image's bytes. Raises OSError if they cannot be read."""
        return read_ref(self.storage, source_ref)

    def _samples(self, shard: str, key: str, members: list[Member], split: str | None) -> Iterator[Sample]:
        if is_hidden(key):
            self.ignored[HIDDEN] += len(members)
            for member in members:
                self._hidden.note(f"{shard}/{member.path}")
            return
        images = [member for member in members if is_image(member.path)]
        stems = {_stem(member.path) for member in images}
        sides: dict[str, list[tuple[str, Member]]] = {}
        for member in members:
            if member in images:
                continue
            found = _side(key, member.path, stems)
            if found is None or not images:
                self.ignored[extension(member.path)] += 1
                if _side_ending(member.path):
                    self._unmatched.add(sample_id(f"{shard}/{member.path}"))
                continue
            sides.setdefault(found[0], []).append((found[1], member))
        read = {stem: self._read_sides(shard, of_stem) for stem, of_stem in sides.items()}
        for member in images:
            label, labels, metadata, state = read.get(_stem(member.path)) or read.get(key) or (None, None, {}, "")
            metadata = dict(metadata)
            written = metadata.pop(self.options.split_column or "split", None)
            placed = self.options.split or read_split(written, self.options.split_column or "split") or split
            name = f"{shard.removesuffix('.tar')}/{member.path}"
            ref = member_ref(shard, member.offset, member.size)
            yield Sample(sample_id(name), ref, member.fingerprint + state, placed, label, labels, metadata)

    def _read_sides(self, shard: str, sides: list[tuple[str, Member]]) -> tuple[str | None, tuple[str, ...] | None, dict[str, Any], str]:
        """Return the label, labels, metadata and fingerprint of the members beside an image."""
        label, labels, state = None, None, ""
        metadata: dict[str, Any] = {}
        for side, member in sides:
            state += "-" + member.fingerprint
            text = read_ref(self.storage, member_ref(shard, member.offset, member.size)).decode("utf-8", "replace").strip()
            if side == "json":
                found = _json_object(text)
                metadata |= found or {}
                self._keys |= {*(found or {})}
                if found is None:
                    self._unread.add(sample_id(f"{shard}/{member.path}"))
            elif side == "txt":
                metadata["text"] = text
            else:
                label = text or None
        if label is None:
            name = next((name for name in (self.options.label_column, "label", "labels", "class_name", "class") if name and name in metadata), None)
            label, labels = read_labels(metadata.pop(name), name) if name else (None, None)
        return label, labels, metadata, state


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def expand_braces(pattern: str) -> list[str]:
    """Return the names that a brace pattern expands to.

    >>> expand_braces("train-{08..10}.tar")
    ['train-08.tar', 'train-09.tar', 'train-10.tar']
    """
    found = _BRACES.search(pattern)
    if found is None:
        return [pattern]
    first, dots, last = found[1].partition("..")
    if dots and first.isdigit() and last.isdigit():
        parts = [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    else:
        parts = found[1].split(",")
    return [name for part in parts for name in expand_braces(pattern[: found.start()] + part + pattern[found.end() :])]


def matches(location: str, options: SourceOptions) -> bool:
    """Return whether the location is a shard pattern, a folder of tars only, or a tar whose first members are an image and its label."""
    folder, shards, _ = _find(location, options)
    if not shards:
        return False
    if _is_pattern(location):
        return True
    if not location.endswith(".tar") and "/" not in shards[0] and _holds_more_than_shards(folder):
        return False
    path = folder.join(folder.root, shards[0])
    try:
        with folder.open(path) as file:
            seen = [member.path for _, member in zip(range(4), read_members(file, path, "", Counter(), []), strict=False)]
    except SourceError:
        return False
    images = [name for name in seen if is_image(name)]
    return any(_side(_key(name), name, {_stem(image) for image in images if _key(image) == _key(name)}) for name in seen if name not in images)


def open_kind(location: str, options: SourceOptions) -> Source:
    """Open shards. Raises SourceError."""
    folder, shards, missing = _find(location, options)
    if not shards:
        raise SourceError(location, "no shard matches", "pass a folder of .tar shards, or a pattern such as train-{00000..00146}.tar")
    return WebDatasetSource(location, options, folder, shards, missing)


def _holds_more_than_shards(folder: Storage) -> bool:
    """Return whether the folder also contains images or folders, which a stray archive must not hide."""
    others = [name for name in folder.names(folder.root) if not name.endswith(".tar") and not is_hidden(name)]
    return any(is_image(name) or folder.what_is(folder.join(folder.root, name)) == "folder" for name in others)


def _is_pattern(location: str) -> bool:
    return location.endswith(".tar") and any(mark in location.rpartition("/")[2] for mark in "{*?")


def _missing_shards(location: str, missing: list[str]) -> list[Problem]:
    if not missing:
        return []
    problem = f"{counted(len(missing), 'shard')} of {location} missing, images not listed: {named(missing, len(missing))}"
    evidence = {"entries": len(missing), "names": missing[:EXAMPLES]}
    return [Problem(kind=NOT_LISTED, severity="error", problem=problem, hint="download them, or change the pattern", evidence=evidence)]


def _find(location: str, options: SourceOptions) -> tuple[Storage, list[str], list[str]]:
    """Return the folder of shards, the names found, and the requested names that are missing."""
    head, slash, name = location.rpartition("/")
    if location.endswith(".tar"):
        folder = Storage(head + slash or ".", options.storage_options)
        present = folder.names(folder.root)
        wanted = expand_braces(name) if _is_pattern(location) else [name]
        found = {want: fnmatch.filter(present, want) if _is_pattern(want) else [want] * (want in present) for want in wanted}
        return folder, [shard for shards in found.values() for shard in shards], [want for want, shards in found.items() if not shards]
    folder = Storage(location, options.storage_options)
    shards = [name for name in folder.names(folder.root) if name.endswith(".tar")]
    return folder, shards or _in_split_folders(folder), []


def _in_split_folders(folder: Storage) -> list[str]:
    """Return the shards in folders with names of splits, if all that the folder contains are such folders."""
    names = [name for name in folder.names(folder.root) if not is_hidden(name)]
    if not any(split_word(name) for name in names) or any(is_image(name) for name in names):
        return []
    inside = {name: folder.names(folder.join(folder.root, name)) for name in names if split_word(name)}
    return [f"{name}/{shard}" for name, shards in inside.items() for shard in shards if shard.endswith(".tar")]


def _key(path: str) -> str:
    """Return what the members of a sample share: the path up to the first dot of its name, as the library ``webdataset`` parts it."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + name.split(".", 1)[0]


def _stem(path: str) -> str:
    """Return a path up to the last dot of its name."""
    return path.rpartition(".")[0]


def _side_ending(path: str) -> str | None:
    """Return which member of a sample a path's ending stands for; None for any other ending."""
    return next((side for side in ("cls.txt", *sorted(_SIDE)) if path.lower().endswith("." + side)), None)


def _side(key: str, path: str, stems: Collection[str]) -> tuple[str, str] | None:
    """Return the key or stem whose images a member belongs to, and which member it is; None if it belongs to none.

    >>> _side("1", "1.cls", {"1"}), _side("22", "22.5.cls", {"22.5"}), _side("22", "22.5.cls", {"22.6"})
    (('1', 'cls'), ('22.5', 'cls'), None)
    """
    side = path[len(key) + 1 :].lower()
    if side in _SIDE:
        return (key, side) if stems else None
    ending = _side_ending(path)
    stem = path[: -len(ending) - 1] if ending else ""
    return (stem, ending) if ending and stem in stems else None
