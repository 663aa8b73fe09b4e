"""Validation of ``run.json``: a corrupt record is reported as such and does not crash a command."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

_NUMBER = (int, float)

SHAPE: dict[str, Any] = {
    "counts": {"listed": int, "scanned": int, "failed": int, "outcomes": {str: int}},
    "checks": {str: {"state": str, "findings": int, "kinds?": [str], "note?": str}},
    "source": {"location": str, "kind": str},
    "options": {"checks?": {str: {}}},
    "backbone": {"name": str},
    "class_words": {str: str},
    "timings": {str: _NUMBER},
    "seconds": _NUMBER,
    "stages": {str: {"warnings?": [str], "changed_since_fit?": int, "not_judged?": int, "complete?": bool}},
    "files": {str: {"bytes": int, "modified_ns": int, "crc32": str}},
    "classes": [str],
    "finished_at": str,
}
"""Key -> type. A mapping is an object with at least these keys; one with the key `str` is an object of any keys with such values. A key that ends in
a question mark is optional."""

_CHECK_STATES = ("done", "skipped")


def schema_version(record: Any) -> int | None:
    """Return a record's schema version; None if it is not the record of a run."""
    found = record.get("schema_version") if isinstance(record, Mapping) else None
    return found if type(found) is int else None


def damage(record: Any, *, required: Collection[str] = ("counts",)) -> str | None:
    """Return what is wrong with a record, or None. ``required`` are the keys that must exist, which a running scan may not have written yet."""
    if not isinstance(record, Mapping):
        return "not a JSON object"
    for name, shape in SHAPE.items():
        if name not in record and name not in required:
            continue
        found = _wrong(name, record.get(name), shape)
        if found:
            return found
    if "finished_at" in record and not _is_time(record["finished_at"]):
        return "finished_at is not a time"
    unnamed = [name for name in record.get("checks", {}) if not name.isidentifier()]  # names of files
    if unnamed:
        return f"checks.{unnamed[0]} is not the name of a check"
    unknown = [name for name, check in record.get("checks", {}).items() if check["state"] not in _CHECK_STATES]
    return f"checks.{unknown[0]}.state is not one of {', '.join(_CHECK_STATES)}" if unknown else None


def _wrong(where: str, value: Any, shape: Any) -> str | None:
    if isinstance(shape, list):
        return None if isinstance(value, list) and all(isinstance(entry, shape[0]) for entry in value) else f"{where} is not a list of strings"
    if not isinstance(shape, Mapping):
        if not isinstance(value, shape) or isinstance(value, bool) != (shape is bool):
            return f"{where} is not {'a string' if shape is str else 'a Boolean' if shape is bool else 'a number'}"
        return f"{where} is negative" if isinstance(value, int | float) and value < 0 else None
    if not isinstance(value, Mapping):
        return f"{where} is not an object"
    inner = dict.fromkeys(value, shape[str]) if str in shape else shape
    wanted = ((name.removesuffix("?"), kind) for name, kind in inner.items() if not name.endswith("?") or name[:-1] in value)
    found = (_wrong(f"{where}.{name}", value.get(name), kind) for name, kind in wanted)
    return next(filter(None, found), None)


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
