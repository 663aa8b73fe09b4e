"""How a finding is shown in Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from audit.tables import cell_value
from dashboard.api.verdicts import verdict_name
from dashboard.components.text import literal
from reports.content.wording import title

_COLORS = {"keep": "green", "accept": "blue", "relabel": "orange", "drop": "red", "unsure": "gray", "disputed": "violet"}
SEVERITY_COLORS = {"error": "red", "warning": "orange", "info": "blue"}


def plain(record: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a row of findings with decoded evidence, and None for missing values."""
    return {str(name): cell_value(value) for name, value in record.items()} | {"evidence": json.loads(str(record["evidence"]))}


def badges(record: Mapping[str, Any], verdict: str | None) -> str:
    """Return a finding's severity, kind and verdict as Markdown."""
    color = SEVERITY_COLORS.get(str(record["severity"]), "gray")
    shown = [f":{color}-badge[{literal(title(str(record['severity'])))}]", f":gray-badge[{literal(title(str(record['kind'])))}]"]
    if verdict:
        shown.append(f":{_COLORS.get(verdict, 'gray')}-badge[{literal(verdict_name(verdict))}]")
    return " ".join(shown)
