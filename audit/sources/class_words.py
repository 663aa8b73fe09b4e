"""Words for labels that are codes."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

from audit.errors import SourceError
from audit.sources.base import SourceOptions
from audit.sources.storage import Storage

_SYNSET = re.compile(r"n\d{8}")
_NAMES = ("words.txt", "LOC_synset_mapping.txt", "synset_words.txt", "synset_mapping.txt")


def find_class_words(storage: Storage, options: SourceOptions, labels: Iterable[str]) -> dict[str, str]:
    """Return words for those labels that have some.

    Asked in turn: the file the options name; a words file in the dataset's folder or beside it; for WordNet synsets, the list that the installed
    ``timm`` has.

    Raises:
        SourceError: the file the options name cannot be read.
    """
    wanted = set(labels)
    if options.class_words_file is not None:
        try:
            text = Path(options.class_words_file).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(options.class_words_file, f"cannot be read: {error}", "name a JSON object or lines of code<TAB>words") from error
        return _chosen(parse_words(text), wanted)
    if not any(_SYNSET.fullmatch(label) for label in wanted):
        return {}
    words = _chosen(parse_words(timm_list("imagenet_synset_to_lemma.txt")), wanted)
    for path in _beside(storage):
        try:
            words |= _chosen(parse_words(storage.read(path).decode("utf-8")), wanted)
        except (OSError, ValueError):
            continue
    return words


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
