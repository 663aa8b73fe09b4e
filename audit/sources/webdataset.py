"""WebDataset shards: tars whose members with one key (``0001.jpg``, ``0001.cls``, ``0001.json``) are one sample."""

from __future__ import annotations

import fnmatch
import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from audit.errors import SourceError
from audit.io.console import counted
from audit.sources.annotations.class_words import StoredSource
from audit.sources.annotations.columns import read_labels, require_column
from audit.sources.annotations.layout import is_split
from audit.sources.base import Sample, Source, SourceOptions
from audit.sources.storage.archives import member_ref, read_ref
from audit.sources.storage.files import Storage
from audit.sources.storage.names import HIDDEN, extension, is_hidden, is_image, sample_id, unescape
from audit.sources.storage.problems import EXAMPLES, NOT_LISTED, Problem, Tally, named
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
        self._unread = Tally()
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
        self._unread = Tally()
        self._keys.clear()
        for shard in self._shards:
            path = self.storage.join(self.storage.root, shard)
            word = re.split(r"[-_.\d]", shard, maxsplit=1)[0]
            split = self.options.split or (word if is_split(word) else None)
            with self.storage.open(path) as file:
                members = read_members(file, path, self.storage.fingerprint(path), self.ignored, self.problems)
                for key, group in groupby(members, lambda member: _key(member.path)):
                    yield from self._samples(shard, key, list(group), split)
        for column in (self.options.label_column, self.options.split_column):
            if column is not None:
                require_column(self.location, column, sorted(self._keys))
        if count := self._unread.count:
            problem = f"no JSON object in {counted(count, 'member')}: {self._unread}; their images are listed without this metadata"
            self.problems.append(Problem(kind="unread_metadata", problem=problem, hint="repair or remove them", evidence={"entries": count}))

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
            return
        label, labels = None, None
        metadata: dict[str, Any] = {}
        images = [member for member in members if is_image(member.path)]
        state = ""
        for member in members:
            side = member.path[len(key) + 1 :].lower()
            if member in images:
                continue
            if side not in _SIDE or not images:
                self.ignored[extension(member.path)] += 1
                continue
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
        written = metadata.pop(self.options.split_column or "split", None)
        split = self.options.split or (split if written in (None, "") else str(written))
        for member in images:
            name = f"{shard.removesuffix('.tar')}/{member.path}"
            ref = member_ref(shard, member.offset, member.size)
            yield Sample(sample_id(name), ref, member.fingerprint + state, split, label, labels, metadata)


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
    if not location.endswith(".tar") and _holds_more_than_shards(folder):
        return False
    path = folder.join(folder.root, shards[0])
    try:
        with folder.open(path) as file:
            seen = [member.path for _, member in zip(range(4), read_members(file, path, "", Counter(), []), strict=False)]
    except SourceError:
        return False
    return any(
        not is_image(path) and path[len(_key(path)) + 1 :].lower() in _SIDE and any(is_image(p) and _key(p) == _key(path) for p in seen)
        for path in seen
    )


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
    return folder, [name for name in folder.names(folder.root) if name.endswith(".tar")], []


def _key(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    return folder + slash + name.split(".", 1)[0]
