"""Accepted findings: ``waivers.toml``, stored and reviewed with the policy."""

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
    """The last day on which it is valid."""
    where: str = field(default="", compare=False)
    """File and line: ``waivers.toml:9``."""


@dataclass(frozen=True, slots=True)
class Waived:
    """Waivers applied to the findings of a run."""

    ids: frozenset[str]
    """Ids of the waived findings."""
    expired: tuple[Waiver, ...] = ()
    unmatched: tuple[Waiver, ...] = ()
    """Waivers whose finding does not exist: fixed, or mistyped."""


def read_waivers(path: Path) -> list[Waiver]:
    """Read ``[[waiver]]`` tables with ``finding``, ``owner``, ``reason`` and, optionally, ``expires`` (a TOML date).

    Raises:
        ConfigError: no such file, not TOML, or an entry lacks or misspells a key; ``where`` has the line and the entry's number, from 1.
    """
    text, content = read_toml(path, missing="pass an existing file with --waivers, or omit the option")
    entries = content.get("waiver", [])
    if set(content) - {"waiver"} or not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(path, "contains something other than [[waiver]] tables", "write each waiver as a [[waiver]] table")
    lines = lines_of_keys(text)
    found = []
    for number, entry in enumerate(entries, 1):
        line = lines.get(("waiver", number - 1), 1)
        where = f"{path}:{line}: waiver {number}"
        for key in entry:
            if key not in _KEYS:
                raise ConfigError(where, f"unknown key {key!r}", nearest(key, _KEYS))
        for key in ("finding", "owner", "reason"):
            if not isinstance(entry.get(key), str) or not entry[key].strip():
                raise ConfigError(where, f"has no {key}", f'write {key} = "..."')
        if "expires" in entry and type(entry["expires"]) is not date:
            raise ConfigError(where, f"{entry['expires']!r} is not a date", "write expires = 2030-12-31, without quotes")
        found.append(Waiver(**entry, where=f"{path}:{line}"))
    return found


def apply_waivers(waivers: Collection[Waiver], finding_ids: Collection[str], today: date) -> Waived:
    """Return the findings waived on a day, and the waivers that have expired or match no finding."""
    known = set(finding_ids)
    valid = [waiver for waiver in waivers if waiver.expires is None or waiver.expires >= today]
    return Waived(
        frozenset(waiver.finding for waiver in valid if waiver.finding in known),
        tuple(waiver for waiver in waivers if waiver.expires is not None and waiver.expires < today),
        tuple(waiver for waiver in valid if waiver.finding not in known),
    )


def kept(decisions: pd.DataFrame, findings: pd.DataFrame) -> frozenset[str]:
    """Return the findings that all reviewers decided to keep, ignoring ``unsure``, in this version or an earlier one.

    A decision applies to the finding with its id. If that finding no longer exists and its check has exactly one other finding about the same image
    with the same label, only the kind changed, and the decision applies to that one. This excludes findings about pairs: another partner is another
    finding.

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
    """Return the subjects about which every decision is ``keep``."""
    unanimous = decisions.assign(keep=decisions["verdict"] == "keep").groupby(subject)["keep"].all()
    return unanimous[unanimous].index
