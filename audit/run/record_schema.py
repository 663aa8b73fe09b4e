"""What ``run.json`` must hold for a run to be read: a damaged record is named, and does not end a command with a fault."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

_NUMBER = (int, float)
_COUNTS = {"listed": int, "scanned": int, "failed": int, "outcomes": {str: int}}
_CHECK = {"state": str, "findings": int}
_STAGE = {"warnings?": [str], "changed_since_fit?": int, "not_judged?": int, "complete?": bool}
_FILE = {"bytes": int, "modified_ns": int, "crc32": str}

SHAPE: dict[str, Any] = {
    "counts": _COUNTS,
    "checks": {str: _CHECK},
    "source": {"location": str, "kind": str},
    "options": {"checks?": {str: {}}},
    "backbone": {"name": str},
    "class_words": {str: str},
    "timings": {str: _NUMBER},
    "seconds": _NUMBER,
    "stages": {str: _STAGE},
    "files": {str: _FILE},
    "classes": [str],
    "finished_at": str,
}
"""Key -> type; a mapping stands for an object with these keys and others, one with the key `str` for an object of such values. A key that ends
in a question mark may be missing."""

_CHECK_STATES = ("done", "skipped")


def schema_version(record: Any) -> int | None:
    """Return the version of a record's schema; None where it is no record of a run."""
    found = record.get("schema_version") if isinstance(record, Mapping) else None
    return found if type(found) is int else None


def damage(record: Any, *, required: Collection[str] = ("counts",)) -> str | None:
    """Return what is wrong with a record, or None; a scan under way has not all that is ``required`` yet."""
    if not isinstance(record, Mapping):
        return "it holds no object"
    for name, shape in SHAPE.items():
        if name not in record and name not in required:
            continue
        found = _wrong(name, record.get(name), shape)
        if found:
            return found
    if "finished_at" in record and not _is_time(record["finished_at"]):
        return "finished_at is no time"
    unknown = [name for name, check in record.get("checks", {}).items() if check["state"] not in _CHECK_STATES]
    return f"checks.{unknown[0]}.state is none of {', '.join(_CHECK_STATES)}" if unknown else None


def _wrong(place: str, value: Any, shape: Any) -> str | None:
    if isinstance(shape, list):
        return None if isinstance(value, list) and all(isinstance(entry, shape[0]) for entry in value) else f"{place} is no list of texts"
    if not isinstance(shape, Mapping):
        if not isinstance(value, shape) or isinstance(value, bool) != (shape is bool):
            return f"{place} is no {_word(shape)}"
        return f"{place} is below 0" if isinstance(value, int | float) and value < 0 else None
    if not isinstance(value, Mapping):
        return f"{place} is no object"
    inner = dict.fromkeys(value, shape[str]) if str in shape else shape
    wanted = ((name.removesuffix("?"), kind) for name, kind in inner.items() if not name.endswith("?") or name[:-1] in value)
    found = (_wrong(f"{place}.{name}", value.get(name), kind) for name, kind in wanted)
    return next(filter(None, found), None)


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _word(kind: Any) -> str:
    return {str: "text", bool: "truth value"}.get(kind, "number")
