"""Words for labels that are codes."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

from audit.errors import SourceError
from audit.io.spreadsheet import text_of
from audit.sources.base import SourceOptions
from audit.sources.storage.files import Storage

_SYNSET = re.compile(r"n\d{8}")
_MEND = "write lines of a label and its words, or a JSON object"
_NAMES = ("words.txt", "LOC_synset_mapping.txt", "synset_words.txt", "synset_mapping.txt")


def find_class_words(storage: Storage, options: SourceOptions, labels: Iterable[str]) -> dict[str, str]:
    """Return words for those labels that have some.

    Asked in turn: the file the options name; a words file in the dataset's folder or beside it; for WordNet synsets, the list that the installed
    ``timm`` has.

    Raises:
        SourceError: the file the options name cannot be read, or has words for none of the labels.
    """
    wanted = set(labels)
    if options.class_words_file is not None:
        return _given(options.class_words_file, wanted)
    if not any(_SYNSET.fullmatch(label) for label in wanted):
        return {}
    words = _chosen(parse_words(timm_list("imagenet_synset_to_lemma.txt")), wanted)
    for path in _beside(storage):
        try:
            words |= _chosen(parse_words(storage.read(path).decode("utf-8")), wanted)
        except (OSError, ValueError):
            continue
    return words


def _given(place: str, wanted: set[str]) -> dict[str, str]:
    """Read the file that the user named, which must say something of the dataset's labels."""
    try:
        text = text_of(Path(place).read_bytes(), place, SourceError)
    except OSError as error:
        raise SourceError(place, f"cannot be read: {error.strerror or error}", _MEND) from error
    for number, line in enumerate([] if text.lstrip().startswith("{") else text.splitlines(), 1):
        if len(line.split(None, 1)) == 1:
            raise SourceError(f"{place}:{number}", f"has no words: {line.strip()[:80]!r}", _MEND)
    try:
        words = parse_words(text)
    except ValueError as error:
        raise SourceError(place, f"is no JSON object: {error}", _MEND) from error
    found = _chosen(words, wanted)
    if wanted and not found:
        raise SourceError(place, f"has words for none of the {len(wanted):,} labels, such as {min(wanted)!r}", _MEND)
    return found


def parse_words(text: str) -> dict[str, str]:
    r"""Return words by code from a JSON object or from lines of a code and its words.

    >>> parse_words("n01440764\ttench, Tinca tinca\nn01443537 goldfish")
    {'n01440764': 'tench, Tinca tinca', 'n01443537': 'goldfish'}
    """
    if text.lstrip().startswith("{"):
        return {str(code): str(words) for code, words in json.loads(text).items()}
    pairs = (line.split(None, 1) for line in text.splitlines())
    return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}


def _beside(storage: Storage) -> list[str]:
    root = storage.root.rstrip("/") or storage.root
    stem = os.path.basename(root).removesuffix(".tar")  # noqa: PTH119 - remote paths too
    beside = storage.parent(root)
    found = [storage.join(beside, name) for name in (f"{stem}-words.json", *_NAMES)]
    names = storage.names(root) if storage.what_is(root) == "folder" else []
    found += [storage.join(root, name) for name in names if name in _NAMES or name.endswith("words.json")]
    return found


def timm_list(name: str) -> str:
    """Return one of the lists of classes that the installed ``timm`` has; empty where there is none of that name."""
    spec = importlib.util.find_spec("timm")  # found, not imported: importing timm imports torch
    paths = [Path(folder) / "data" / "_info" / name for folder in (spec.submodule_search_locations or ())] if spec else []
    return next((path.read_text("utf-8") for path in paths if path.is_file()), "")


def _chosen(words: dict[str, str], wanted: set[str]) -> dict[str, str]:
    return {label: words[label] for label in sorted(wanted) if label in words}
