"""Findings that are known and accepted: ``waivers.toml``, kept and reviewed beside the policy."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.errors import ConfigError, nearest
from audit.io.toml import read_toml
from audit.io.toml_lines import lines_of_keys

if TYPE_CHECKING:
    import pandas as pd

_KEYS = {"finding", "owner", "reason", "expires"}


@dataclass(frozen=True, slots=True)
class Waiver:
    """One accepted finding."""

    finding: str
    owner: str
    reason: str
    expires: date | None = None
    """The last day it holds."""
    place: str = field(default="", compare=False)
    """``waivers.toml:9``."""


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
        ConfigError: no such file, not TOML, or an entry lacks or misspells a key; the place has the line, and counts the entries from 1.
    """
    text, content = read_toml(path, missing="name an existing file with --waivers, or leave the option out")
    entries = content.get("waiver", [])
    if set(content) - {"waiver"} or not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(path, "holds something else than [[waiver]] tables", "write each waiver as a [[waiver]] table")
    lines = lines_of_keys(text)
    found = []
    for number, entry in enumerate(entries, 1):
        line = lines.get(("waiver", number - 1), 1)
        place = f"{path}:{line}: waiver {number}"
        for key in entry:
            if key not in _KEYS:
                raise ConfigError(place, f"unknown key {key!r}", nearest(key, _KEYS))
        for key in ("finding", "owner", "reason"):
            if not isinstance(entry.get(key), str) or not entry[key].strip():
                raise ConfigError(place, f"has no {key}", f'write {key} = "..."')
        if "expires" in entry and type(entry["expires"]) is not date:
            raise ConfigError(place, f"{entry['expires']!r} is not a date", "write expires = 2030-12-31, without quotes")
        found.append(Waiver(**entry, place=f"{path}:{line}"))
    return found


def apply_waivers(waivers: Collection[Waiver], finding_ids: Collection[str], today: date) -> Waived:
    """Return what is waived today, and which waivers are out of date or about nothing."""
    known = set(finding_ids)
    valid = [waiver for waiver in waivers if waiver.expires is None or waiver.expires >= today]
    return Waived(
        frozenset(waiver.finding for waiver in valid if waiver.finding in known),
        tuple(waiver for waiver in waivers if waiver.expires is not None and waiver.expires < today),
        tuple(waiver for waiver in valid if waiver.finding not in known),
    )


def kept(decisions: pd.DataFrame, findings: pd.DataFrame) -> frozenset[str]:
    """Return the findings that reviewers decided to keep: all who were sure, of this version or of one before.

    A decision is about a finding by its id. Where that finding is gone and its check has exactly one other about the same image under the same label,
    it is the same thing by another kind, and the decision holds. A finding that was verified against another image is another one.

    Args:
        decisions: as `audit.review.decisions.latest` returns them.
        findings: columns of ``audit.tables.FINDINGS``.
    """
    subject = ["check", "content_id", "given_label"]
    sure = decisions[decisions["verdict"] != "unsure"]
    by_id = _all_keep(sure.dropna(subset=["finding_id"]), ["finding_id"])
    known = findings["finding_id"].isin(sure["finding_id"])
    single = ~findings.duplicated(["check", "content_id"], keep=False)
    alone = findings[~known & single & findings["content_id"].notna() & ~findings["evidence"].str.contains('"partner": ', regex=False)]
    gone = sure[~sure["finding_id"].isin(findings["finding_id"])].dropna(subset=subject)
    keys = alone.set_index(["check", "content_id", "label"]).index
    return frozenset(findings.loc[findings["finding_id"].isin(by_id), "finding_id"]) | frozenset(
        alone.loc[keys.isin(_all_keep(gone, subject)), "finding_id"]
    )


def _all_keep(decisions: pd.DataFrame, subject: list[str]) -> pd.Index[Any]:
    """Return what every decision about it says to keep."""
    unanimous = decisions.assign(keep=decisions["verdict"] == "keep").groupby(subject)["keep"].all()
    return unanimous[unanimous].index
