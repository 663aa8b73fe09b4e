"""JUnit XML: a test case per rule of the policy. A rule that cannot be judged is skipped, an unknown one is an error.

The elements and attributes are those that Jenkins, GitLab, Azure Pipelines and GitHub's viewers read alike (``testsuites, testsuite, testcase,
failure, error, skipped, system-out``). XML forbids control characters even as references: they stand as escapes.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from audit.gate.formats.base import subject
from audit.gate.verdict import FAILED, NOT_JUDGED, UNKNOWN
from audit.io.console import safe

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from audit.gate.gate import Gate
    from audit.gate.verdict import Verdict

SHOWN = 100
"""Findings listed below one rule: viewers show the whole text of a failure at once."""

_SUITE = "imagenet-audit check"


def render(gate: Gate) -> str:
    """Return the gate as JUnit XML, UTF-8."""
    totals = {
        "tests": str(len(gate.verdicts)),
        "failures": str(len(gate.failed)),
        "errors": str(sum(verdict.state == UNKNOWN for verdict in gate.verdicts)),
        "skipped": str(sum(verdict.state == NOT_JUDGED for verdict in gate.verdicts)),
        "time": "0",
    }
    root = ET.Element("testsuites", {"name": _SUITE, **totals})
    suite = ET.SubElement(root, "testsuite", {"name": _SUITE, **totals})
    properties = ET.SubElement(suite, "properties")
    for name, value in (("run", gate.run), ("dataset", gate.source), ("policy", gate.policy), ("version", gate.version)):
        if value:
            ET.SubElement(properties, "property", {"name": name, "value": safe(value)})
    named = {finding for verdict in gate.failed for finding in verdict.findings[:SHOWN]}
    rows = gate.findings[gate.findings["finding_id"].isin(named)].set_index("finding_id")
    for verdict in gate.verdicts:
        table = verdict.rule.partition(".")[0]
        case = ET.SubElement(suite, "testcase", {"classname": f"imagenet-audit.{table}", "name": safe(verdict.rule), "time": "0"})
        if verdict.state == FAILED:
            failure = ET.SubElement(case, "failure", {"message": safe(verdict.message), "type": table})
            failure.text = "\n".join([safe(verdict.message), *_lines(verdict, rows)])
        elif verdict.state == UNKNOWN:
            ET.SubElement(case, "error", {"message": safe(verdict.message), "type": table})
        elif verdict.state == NOT_JUDGED:
            ET.SubElement(case, "skipped", {"message": safe(verdict.message)})
        else:
            ET.SubElement(case, "system-out").text = safe(verdict.message)
    said = [safe(line) for line in gate.said()]
    if said:
        ET.SubElement(suite, "system-out").text = "\n".join(said)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False).join(('<?xml version="1.0" encoding="UTF-8"?>\n', "\n"))


def _lines(verdict: Verdict, rows: pd.DataFrame) -> Iterator[str]:
    for finding_id in verdict.findings[:SHOWN]:
        row = rows.loc[finding_id]
        yield f"{safe(subject(row['sample_id'], row['label']))}: {row['check']}: {safe(row['message'])} [{finding_id}]"
    if len(verdict.findings) > SHOWN:
        yield f"and {len(verdict.findings) - SHOWN:,} more"
