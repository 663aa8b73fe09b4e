"""All findings of a run as CSV, worst first, for a spreadsheet: no cell is a formula, and names contain nothing invisible."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit.io.console import safe
from audit.io.spreadsheet import csv_text
from audit.tables import FINDINGS
from reports.content.summary import ordered

if TYPE_CHECKING:
    from audit import Run

ENDINGS = (".csv",)


def render(run: Run) -> str:
    r"""Return all columns of ``audit.tables.FINDINGS``; unprintable characters become escapes such as ``\x1b``."""
    records = ordered(run).to_dict("records")
    rows = [{str(name): safe(value) if isinstance(value, str) else value for name, value in record.items()} for record in records]
    return csv_text(FINDINGS.names, rows)
