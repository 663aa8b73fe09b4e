"""Readable names of labels that are codes."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from audit.errors import SourceError
from audit.io.spreadsheet import text_of
from audit.sources.base import SourceOptions
from audit.sources.storage.files import Storage
from audit.sources.storage.problems import Problem

_SYNSET = re.compile(r"n\d{8}")
_HINT = "write lines of a label and its words, or a JSON object"
_NAMES = ("words.txt", "LOC_synset_mapping.txt", "synset_words.txt", "synset_mapping.txt")


class StoredSource:
    """What all kinds of source have in common."""

    def __init__(self, kind: str, location: str, options: SourceOptions, storage: Storage) -> None:
        self.kind, self.location, self.options, self.storage = kind, location, options, storage
        self.ignored: Counter[str] = Counter()
        self.problems: list[Problem] = []

    def class_words(self, labels: Iterable[str]) -> dict[str, str]:
        """Return readable names of those labels that have one. Raises SourceError."""
        return find_class_words(self.storage, self.options, labels)


def find_class_words(storage: Storage, options: SourceOptions, labels: Iterable[str]) -> dict[str, str]:
    """Return readable names of those labels that have one.

    They come from the file in the options, if given; otherwise, for WordNet synsets, from a words file in or next to the dataset's folder, and from
    the list of the installed ``timm``.

    Raises:
        SourceError: the file in the options cannot be read, or has words for none of the labels.
    """
    wanted = set(labels)
    if options.class_words_file is not None:
        return _given(options.class_words_file, wanted)
    if not any(_SYNSET.fullmatch(label) for label in wanted):
        return {}
    words = _chosen(parse_words(timm_list("imagenet_synset_to_lemma.txt")), wanted)
    for path in _candidates(storage):
        try:
            words |= _chosen(parse_words(storage.read(path).decode("utf-8")), wanted)
        except (OSError, ValueError):
            continue
    return words


def _given(path: str, wanted: set[str]) -> dict[str, str]:
    """Read the user's file, which must have words for at least one of the labels."""
    try:
        text = text_of(Path(path).read_bytes(), path, SourceError)
    except OSError as error:
        raise SourceError(path, f"cannot be read: {error.strerror or error}", _HINT) from error
    for number, line in enumerate([] if text.lstrip().startswith("{") else text.splitlines(), 1):
        if len(line.split(None, 1)) == 1:
            raise SourceError(f"{path}:{number}", f"has no words: {line.strip()[:80]!r}", _HINT)
    try:
        words = parse_words(text)
    except ValueError as error:
        raise SourceError(path, f"is not a JSON object: {error}", _HINT) from error
    found = _chosen(words, wanted)
    if wanted and not found:
        raise SourceError(path, f"has words for none of the {len(wanted):,} labels, such as {min(wanted)!r}", _HINT)
    return found


def parse_words(text: str) -> dict[str, str]:
    r"""Parse a JSON object, or lines of a code and its words.

    >>> parse_words("n01440764\ttench, Tinca tinca\nn01443537 goldfish")
    {'n01440764': 'tench, Tinca tinca', 'n01443537': 'goldfish'}
    """
    if text.lstrip().startswith("{"):
        return {str(code): str(words) for code, words in json.loads(text).items()}
    pairs = (line.split(None, 1) for line in text.splitlines())
    return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}


def _candidates(storage: Storage) -> list[str]:
    root = storage.root.rstrip("/") or storage.root
    stem = os.path.basename(root).removesuffix(".tar")  # noqa: PTH119 - remote paths too
    parent = storage.parent(root)
    found = [storage.join(parent, name) for name in (f"{stem}-words.json", *_NAMES)]
    names = storage.names(root) if storage.what_is(root) == "folder" else []
    found += [storage.join(root, name) for name in names if name in _NAMES or name.endswith("words.json")]
    return found


def timm_list(name: str) -> str:
    """Return a class list of the installed ``timm``; empty if it has no list of that name."""
    spec = importlib.util.find_spec("timm")  # found, not imported: importing timm imports torch
    paths = [Path(folder) / "data" / "_info" / name for folder in (spec.submodule_search_locations or ())] if spec else []
    return next((path.read_text("utf-8") for path in paths if path.is_file()), "")


def _chosen(words: dict[str, str], wanted: set[str]) -> dict[str, str]:
    return {label: words[label] for label in sorted(wanted) if label in words}
