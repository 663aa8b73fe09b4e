"""Findings that are known and accepted: ``waivers.toml``, kept and reviewed beside the policy."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from audit.errors import ConfigError, nearest

_KEYS = {"finding", "owner", "reason", "expires"}


@dataclass(frozen=True, slots=True)
class Waiver:
    """One accepted finding."""

    finding: str
    owner: str
    reason: str
    expires: date | None = None
    """The last day it holds."""


@dataclass(frozen=True, slots=True)
class Waived:
    """What waivers came to."""

    ids: frozenset[str]
    """Findings that are waived today."""
    expired: tuple[Waiver, ...] = ()
    unmatched: tuple[Waiver, ...] = ()
    """No finding has that id: fixed, or mistyped."""


def read_waivers(path: Path) -> list[Waiver]:
    """Read ``[[waiver]]`` tables with ``finding``, ``owner``, ``reason`` and, optionally, ``expires`` (a TOML date).

    Raises:
        ConfigError: no such file, not TOML, or an entry lacks or misspells a key; the place counts the entries from 1.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(path, "no such file", "name an existing file with --waivers, or leave the option out") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(path, f"not TOML: {error}", "mend the file at that place") from None
    entries = content.get("waiver", [])
    if set(content) - {"waiver"} or not isinstance(entries, list):
        raise ConfigError(path, "holds something else than [[waiver]] tables", "write each waiver as a [[waiver]] table")
    found = []
    for number, entry in enumerate(entries, 1):
        place = f"{path}: waiver {number}"
        for key in entry:
            if key not in _KEYS:
                raise ConfigError(place, f"unknown key {key!r}", nearest(key, _KEYS))
        for key in ("finding", "owner", "reason"):
            if not isinstance(entry.get(key), str) or not entry[key].strip():
                raise ConfigError(place, f"has no {key}", f'write {key} = "..."')
        if "expires" in entry and type(entry["expires"]) is not date:
            raise ConfigError(place, f"{entry['expires']!r} is not a date", "write expires = 2030-12-31, without quotes")
        found.append(Waiver(**entry))
    return found


def apply_waivers(waivers: Collection[Waiver], finding_ids: Collection[str], today: date) -> Waived:
    """Return what is waived today, and which waivers are out of date or about nothing."""
    known = set(finding_ids)
    expired = tuple(waiver for waiver in waivers if waiver.expires is not None and waiver.expires < today)
    valid = [waiver for waiver in waivers if waiver not in expired]
    return Waived(
        frozenset(waiver.finding for waiver in valid if waiver.finding in known),
        expired,
        tuple(waiver for waiver in valid if waiver.finding not in known),
    )
