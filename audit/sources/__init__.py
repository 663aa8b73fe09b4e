"""Where a dataset's images come from: one module per way of storing them, all yielding the same rows.

A module of this package is a kind of source when it has ``KIND`` (its name), ``RANK`` (kinds are asked in rising order), ``OPTIONS`` (the fields of
`SourceOptions` that it reads besides those that all do), ``matches(location, options)`` (whether ``auto`` may take it) and ``open_kind(location,
options)``; a new kind is one new file.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import pkgutil
from typing import TYPE_CHECKING, Protocol, cast

from audit.errors import SourceError, nearest
from audit.sources.base import Sample, Source, SourceOptions
from audit.sources.storage.faults import readable

if TYPE_CHECKING:
    from audit.sources.storage.files import Storage

__all__ = ["Kind", "Sample", "Source", "SourceOptions", "find_kinds", "open_source"]


class Kind(Protocol):
    """What a module must have to be a kind of source."""

    KIND: str
    RANK: int
    OPTIONS: frozenset[str]

    def matches(self, location: str, options: SourceOptions) -> bool:
        """Return whether the location looks like this kind."""
        ...

    def open_kind(self, location: str, options: SourceOptions) -> Source:
        """Open the location as this kind. Raises SourceError."""
        ...


def find_kinds() -> dict[str, Kind]:
    """Return every kind of source by name, in the order ``auto`` asks them."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    kinds = sorted((cast("Kind", module) for module in modules if hasattr(module, "KIND")), key=lambda kind: (kind.RANK, kind.KIND))
    found: dict[str, Kind] = {}
    for kind in kinds:
        if kind.KIND in found:
            raise SourceError(kind.KIND, f"{kind} and {found[kind.KIND]} both define this kind of source", "rename one of them")
        found[kind.KIND] = kind
    return found


def open_source(location: str, options: SourceOptions | None = None) -> Source:
    """Open a dataset.

    Args:
        location: a folder, tar, manifest, Parquet file, shard pattern or fsspec URL.
        options: how to read it; the default detects the kind.

    Raises:
        SourceError: the location does not exist, cannot be reached, or no source kind can read it.
    """
    with readable(str(location)):
        return _open(str(location), options or SourceOptions())


def _open(location: str, options: SourceOptions) -> Source:
    from audit.sources.storage.files import Storage

    storage = Storage(location, options.storage_options)
    _refuse_run(storage)
    kinds = find_kinds()
    if options.kind != "auto":
        if options.kind not in kinds:
            raise SourceError(f"source kind {options.kind!r}", "unknown source kind", nearest(options.kind, ["auto", *kinds]))
        _refuse_unused(kinds[options.kind], options)
        return kinds[options.kind].open_kind(location, options)
    for kind in kinds.values():
        if kind.matches(location, options):
            _refuse_unused(kind, options)
            return kind.open_kind(location, options)
    if storage.what_is(storage.root) is None:
        raise SourceError(location, "no such file or folder", "check the spelling; pass a folder, tar, manifest, shard pattern or URL")
    raise SourceError(location, "unrecognised dataset format", f"pass a folder, .tar, .csv, .jsonl or .parquet, or set its kind: {', '.join(kinds)}")


def _refuse_run(storage: Storage) -> None:
    """Refuse a run directory: its previews would be audited instead of the dataset."""
    path = storage.join(storage.root, "run.json")
    if storage.protocol is not None or storage.what_is(path) != "file":
        return
    try:
        record = json.loads(storage.read(path))
        dataset = record["source"]["location"] if "schema_version" in record else None
    except (OSError, ValueError, KeyError, TypeError):
        return
    if dataset is not None:
        raise SourceError(storage.location, f"is a run directory; its dataset is {dataset}", "pass the dataset, or use a command that reads runs")


_ALWAYS_READ = frozenset({"kind", "split", "class_words_file", "taxonomy_file", "storage_options"})
_OF_LABEL_FILES = frozenset({"path_column", "label_column", "split_column"})


def _refuse_unused(kind: Kind, options: SourceOptions) -> None:
    """Refuse options that this kind ignores."""
    read = kind.OPTIONS | (_OF_LABEL_FILES if options.labels_file is not None else frozenset())
    for field in dataclasses.fields(options):
        asked = getattr(options, field.name) != getattr(SourceOptions(), field.name)
        if asked and field.name not in _ALWAYS_READ | read:
            hint = f"remove it; a {kind.KIND} source accepts {', '.join(f'`{name}`' for name in sorted(kind.OPTIONS))}"
            raise SourceError(f"`{field.name}`", f"has no effect on a {kind.KIND} source", hint)
