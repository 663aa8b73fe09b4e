"""The datasets that this user has scanned on this machine, remembered outside of runs.

A run that somebody else made may name any file or server as its dataset. Commands that read a run open its dataset only if a scan on this machine
read it, or if the user names it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from audit.io.user_cache import user_cache
from audit.sources import SourceOptions, source_options

PRIVATE = ("storage_options", "allow_remote")
"""Source options that a run must not set: they may hold secrets or make this machine connect."""


def remember(location: str, options: SourceOptions) -> None:
    """Store that a scan reads a dataset, with the options that runs do not store. Ignores a cache that is not writable."""
    path = _path(location, asdict(options))
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"location": location, **{name: getattr(options, name) for name in PRIVATE}}, file, default=str)


def recall(location: str, table: Mapping[str, Any]) -> SourceOptions | None:
    """Return the options with which a scan on this machine read a dataset; None if none did.

    Args:
        location: as in ``run.json``.
        table: the source options in ``run.json``.

    Raises:
        ConfigError: an option in ``table`` is unknown or has the wrong type.
    """
    try:
        stored = json.loads(_path(location, table).read_text(encoding="utf-8"))
        return replace(public(table), **{name: stored[name] for name in PRIVATE})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def public(table: Mapping[str, Any]) -> SourceOptions:
    """Return the source options in ``run.json`` without those that a run must not set. Raises ConfigError as `source_options` does."""
    return source_options({name: value for name, value in table.items() if name not in PRIVATE})


def _path(location: str, table: Mapping[str, Any]) -> Path:
    known = {**asdict(SourceOptions()), **table}
    identity = json.dumps([location, {name: value for name, value in known.items() if name not in PRIVATE}], sort_keys=True, default=str)
    return user_cache() / "scanned" / f"{hashlib.sha256(identity.encode()).hexdigest()}.json"
