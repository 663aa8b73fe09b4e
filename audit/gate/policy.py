"""Read and validate ``policy.toml``, the rules that a dataset version must pass; see ``docs/gate.md``."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audit.diff.sample_changes import MORE_THAN_NAMES
from audit.errors import ConfigError, nearest
from audit.io.toml import read_toml
from audit.io.toml_lines import Key, lines_of_keys
from audit.tables import SEVERITIES

TOTAL = "total"
"""Name for the findings of all checks together."""

_CONFIDENCE = 0.95
_SCOPES = ("kind", "severity", "split", "class")
_REQUIRED: dict[str, type | tuple[type, ...]] = {
    "readable": bool,
    "whole_groups": bool,
    "classes": list,
    "splits": list,
    "min_per_class": int,
    "min_per_split": (int, dict),
    "embedding_drift": float,
    "class_balance_drift": float,
}
_TABLES = {"limits": dict, "new": dict, "changes": dict, "require": dict, "confidence": float}
_CHANGE_SCOPES = ("split", "class")


@dataclass(frozen=True, slots=True)
class Limit:
    """A maximum number of findings, or a maximum share of images with one."""

    name: str
    """Dotted key in the policy: ``limits.leakage``."""
    check: str
    """A check, or `TOTAL`."""
    new: bool
    """Whether only findings that the baseline does not have count."""
    count: int | None = None
    rate: float | None = None
    """0..1, share of the images that the check applies to."""
    scope: dict[str, str] = field(default_factory=dict)
    """``kind``, ``severity``, ``split``, ``class`` -> the only value that counts."""
    per: str | None = None
    """``split`` or ``class`` for a limit on changes that each of them must keep; None for all images together."""
    optional: bool = False
    """Whether the rule is skipped if it cannot be judged."""
    line: int = 1
    """Line in the policy, from 1."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy as read."""

    limits: tuple[Limit, ...] = ()
    changes: tuple[Limit, ...] = ()
    """Limits on changed images; ``check`` is one of ``audit.diff.sample_changes.MORE_THAN_NAMES``."""
    require: dict[str, Any] = field(default_factory=dict)
    confidence: float = _CONFIDENCE
    """A rate fails if it exceeds its limit with this confidence."""
    path: str = ""
    lines: dict[str, int] = field(default_factory=dict)
    """Requirement -> line in the policy, from 1."""


def read_policy(path: Path, checks: Collection[str]) -> Policy:
    """Read a policy.

    Args:
        path: the TOML file.
        checks: names of all checks.

    Raises:
        ConfigError: no such file, not TOML, an unknown key or check, a value of the wrong type; ``where`` is ``policy.toml:LINE: key``.
    """
    text, content = read_toml(path, missing="write a starter policy with: imagenet-audit init")
    return _Reader(path, lines_of_keys(text), checks).policy(content)


@dataclass(frozen=True, slots=True)
class _Reader:
    path: Path
    lines: dict[Key, int]
    checks: Collection[str]

    def policy(self, content: dict[str, Any]) -> Policy:
        for key, value in content.items():
            self.known((key,), _TABLES)
            self.typed((key,), value, _TABLES[key])
        limits = [limit for new, table in ((False, "limits"), (True, "new")) for limit in self.limits(table, content.get(table, {}), new=new)]
        changes = self.limits("changes", content.get("changes", {}), new=True)
        require = content.get("require", {})
        for key, value in require.items():
            self.known(("require", key), _REQUIRED)
            self.typed(("require", key), value, _REQUIRED[key])
            self.required(("require", key), value)
        confidence = content.get("confidence", _CONFIDENCE)
        if not 0.5 <= confidence < 1:
            raise self.error(("confidence",), f"{confidence} is not a valid confidence", "use a number from 0.5 to below 1, such as 0.95")
        if not limits and not changes and not require:
            raise ConfigError(self.path, "contains no rules", "write a starter policy with: imagenet-audit init")
        lines = {name: self.line(("require", name)) for name in require}
        return Policy(tuple(limits), tuple(changes), require, float(confidence), str(self.path), lines)

    def required(self, key: Key, value: Any) -> None:
        """Refuse values that no version, or every version, would satisfy. Raises ConfigError."""
        if isinstance(value, dict):
            for name, least in value.items():
                self.typed((*key, name), least, int)
                self.required((*key, name), least)
        elif isinstance(value, list):
            for name in value:
                self.typed(key, name, str)
        elif not isinstance(value, bool) and not 0 <= value < math.inf:
            raise self.error(key, f"{value} is not a valid limit", "use a finite number, 0 or greater")
        elif value is False or (value == 0 and "min" in str(key[1])) or (value >= 1 and key[1] == "class_balance_drift"):
            raise self.error(key, f"{value} allows every version", "omit the key, or require something")

    def limits(self, table: str, given: dict[str, Any], *, new: bool) -> list[Limit]:
        found = []
        for key, value in given.items():
            self.known((table, key), MORE_THAN_NAMES if table == "changes" else [TOTAL, *SEVERITIES, *self.checks])
            if isinstance(value, list) and value:
                found += [self.limit((table, key, number), part, new=new) for number, part in enumerate(value)]
            else:
                found.append(self.limit((table, key), value, new=new))
        return found

    def limit(self, key: tuple[str, str] | tuple[str, str, int], value: Any, *, new: bool) -> Limit:
        given = value if isinstance(value, dict) else {} if value == [] else {"count": value}
        for name in given:
            self.known((*key, name), ["count", "rate", "per", *_CHANGE_SCOPES] if key[0] == "changes" else ["count", "rate", "optional", *_SCOPES])
        if not {"count", "rate"} & given.keys():
            raise self.error(key, "sets no limit", "add count or rate")
        count, rate = given.get("count"), given.get("rate")
        if count is not None and (type(count) is not int or count < 0):
            raise self.error((*key, "count"), f"{count!r} is not a number of findings", "use a whole number, 0 or greater; for a share, set rate")
        if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1):
            raise self.error((*key, "rate"), f"{rate!r} is not a share", "use a number from 0 to 1")
        if rate == 1 and not (key[0] == "changes" and key[1] == "added"):
            raise self.error((*key, "rate"), "a share of 1 allows every version", "use a smaller share, or remove the limit")
        per, optional = given.get("per"), given.get("optional", False)
        self.typed((*key, "optional"), optional, bool)
        if per is not None and per not in _CHANGE_SCOPES:
            raise self.error((*key, "per"), f"{per!r} is not a unit", "use split or class")
        scope = {name: given[name] for name in _SCOPES if name in given}
        for name, wanted in scope.items():
            self.typed((*key, name), wanted, str)
        if key[1] in SEVERITIES and scope.setdefault("severity", key[1]) != key[1]:
            raise self.error((*key, "severity"), f"{scope['severity']!r} contradicts {key[1]!r}", "omit it")
        if scope.get("severity", SEVERITIES[0]) not in SEVERITIES:
            raise self.error((*key, "severity"), f"unknown severity {scope['severity']!r}", nearest(scope["severity"], SEVERITIES))
        name = _dotted(key) + "".join(f"[{scope_name}={wanted}]" for scope_name, wanted in scope.items() if wanted != key[1])
        name += f"[per {per}]" if per else ""
        return Limit(name, TOTAL if key[1] in SEVERITIES else key[1], new, count, rate, scope, per, optional, self.line(key))

    def known(self, key: Key, names: Collection[str]) -> None:
        if key[-1] not in names:
            what = "check or key" if len(key) == 2 and key[0] != "require" else "key"
            raise self.error(key, f"unknown {what} {key[-1]!r}", nearest(str(key[-1]), names))

    def typed(self, key: Key, value: Any, kind: type | tuple[type, ...]) -> None:
        fits = isinstance(value, int | float) if kind is float else isinstance(value, kind)
        if not fits or (isinstance(value, bool) and kind is not bool):
            kinds: dict[type, str] = {bool: "true or false", list: "a list", int: "a whole number", float: "a number", str: "text", dict: "a table"}
            words = " or ".join(kinds[one] for one in (kind if isinstance(kind, tuple) else (kind,)))
            raise self.error(key, f"{value!r} is not {words}", f"use {words}")

    def error(self, key: Key, problem: str, hint: str) -> ConfigError:
        return ConfigError(f"{self.path}:{self.line(key)}: {_dotted(key)}", problem, hint)

    def line(self, key: Key) -> int:
        return next((self.lines[key[:length]] for length in range(len(key), 0, -1) if key[:length] in self.lines), 1)


def _dotted(key: Key) -> str:
    return ".".join(part for part in key if isinstance(part, str))


STARTER = """# Rules that a dataset version must pass in `imagenet-audit check`. See docs/gate.md.

confidence = 0.95  # a rate fails only if it exceeds its limit with this confidence

[limits]  # findings in this version; waived ones do not count
leakage = 0
conflicting_labels = 0
label_errors = { rate = 0.03, severity = "error" }

[new]  # findings that the baseline does not have, because of images that changed
error = 0

[changes]  # images that differ from the baseline or the lock; without either, these rules are skipped
removed = { rate = 0.05, per = "split" }
relabelled.rate = 0.05
moved = 0

[require]
readable = true
min_per_class = 2
min_per_split = 10
"""
"""Policy that ``imagenet-audit init`` writes."""
