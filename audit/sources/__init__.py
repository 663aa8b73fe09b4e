"""Dataset formats: one module per source kind, all yielding the same rows.

Every module except ``base`` is a source kind of that name; `Kind` lists what it defines. Other distributions add kinds through the entry-point group
``imagenet_audit.sources`` (``name = "package.module"``).
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

from audit.errors import ConfigError, SourceError, nearest
from audit.io.option_values import converted
from audit.io.plugins import SOURCES
from audit.sources.base import Sample, Source, SourceOptions
from audit.sources.storage.faults import readable

if TYPE_CHECKING:
    from audit.sources.storage.files import Storage

__all__ = ["Kind", "Sample", "Source", "SourceOptions", "find_kinds", "open_source", "source_options"]


class Kind(Protocol):
    """What the module of a source kind defines."""

    KIND: str
    """The name of the module or the entry point."""
    RANK: int
    """``auto`` tries kinds in ascending order."""
    OPTIONS: frozenset[str]
    """Fields of `SourceOptions` that it reads in addition to the common ones."""

    def matches(self, location: str, options: SourceOptions) -> bool:
        """Return whether the location looks like this kind."""
        ...

    def open_kind(self, location: str, options: SourceOptions) -> Source:
        """Open the location as this kind. Raises SourceError."""
        ...


def find_kinds() -> dict[str, Kind]:
    """Return every source kind by name, in the order in which ``auto`` tries them.

    Raises:
        AuditError: two kinds have the same name, or one cannot be imported.
        SourceError: a module does not define everything that `Kind` lists.
    """
    kinds = {name: cast("Kind", plugin.load()) for name, plugin in SOURCES.find().items()}
    for name, kind in kinds.items():
        missing = [part for part in ("RANK", "OPTIONS", "matches", "open_kind") if not hasattr(kind, part)]
        if missing or getattr(kind, "KIND", None) != name:
            problem = f"does not define {', '.join(missing)}" if missing else f"its KIND is not {name!r}"
            raise SourceError(SOURCES.get(name).origin, problem, "see `Kind` in audit/sources/__init__.py")
    return dict(sorted(kinds.items(), key=lambda item: (item[1].RANK, item[0])))


def source_options(table: Mapping[str, Any]) -> SourceOptions:
    """Return source options from plain values, as in ``run.json``. Raises ConfigError for an unknown key or a value of the wrong type."""
    hints = typing.get_type_hints(SourceOptions)
    for name in table:
        if name not in hints:
            raise ConfigError("source", f"unknown option {name!r}", nearest(name, hints))
    return SourceOptions(**{name: converted(f"source: {name}", value, hints[name]) for name, value in table.items()})


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
            raise SourceError("--kind", f"unknown kind {options.kind!r}", nearest(options.kind, ["auto", *kinds]))
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


_ALWAYS_READ = frozenset({"kind", "split", "group_column", "group_pattern", "class_words_file", "taxonomy_file", "storage_options", "allow_remote"})
_OF_LABEL_FILES = frozenset({"path_column", "label_column", "split_column"})


def _refuse_unused(kind: Kind, options: SourceOptions) -> None:
    """Refuse options that this kind ignores."""
    read = kind.OPTIONS | (_OF_LABEL_FILES if options.labels_file is not None else frozenset())
    for field in dataclasses.fields(options):
        is_set = getattr(options, field.name) != getattr(SourceOptions(), field.name)
        if is_set and field.name not in _ALWAYS_READ | read:
            hint = f"remove it; a {kind.KIND} source accepts {', '.join(f'`{name}`' for name in sorted(kind.OPTIONS))}"
            raise SourceError(f"`{field.name}`", f"has no effect on a {kind.KIND} source", hint)
