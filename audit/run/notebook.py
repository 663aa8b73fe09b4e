"""A run in a notebook: its counts, and its first findings with their images, as HTML without scripts."""

from __future__ import annotations

import base64
import html
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from audit.images.boxes import boxes_of, outlined, shown_images
from audit.images.previews import previews
from audit.io.console import safe
from audit.tables import SEVERITIES, cell_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from audit.run.findings_index import Where
    from audit.run.run import Run

FIRST = 6
"""Findings that a run shows of itself."""

_COLORS = {"error": "#b3261e", "warning": "#8a4b00", "info": "#1d5fd0"}
_CARD = "display:inline-block;vertical-align:top;width:180px;margin:0 10px 12px 0;font:13px/1.35 sans-serif;overflow-wrap:anywhere"


@dataclass(frozen=True, slots=True)
class Shown:
    """Something that a notebook shows; `str` gives its plain text."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __str__(self) -> str:
        """Return the plain text."""
        return self.text


def overview(run: Run) -> Shown:
    """Return counts and the first findings, one of each check."""
    counts = run.record["counts"]
    if not run.record.get("finished", True):
        text = f"{run.path.name}: the scan is not finished"
        return Shown(f"<p>{_text(text)}</p>", text)
    index = run.findings_index
    by_severity = ", ".join(f"{int((index['severity'] == level).sum()):,} {level}" for level in reversed(SEVERITIES))
    text = f"{run.path.name}: {counts['listed']:,} images, {counts['failed']:,} failed; {len(index):,} findings ({by_severity})"
    first = run.read_findings(index[~index.duplicated("check")].head(FIRST)).to_dict("records")
    return Shown(f"<p><b>{_text(text)}</b></p>{_cards(run, first)}", text)


def findings(run: Run, where: Where, limit: int) -> Shown:
    """Return some findings, worst first, with their images.

    Args:
        run: a finished run.
        where: column -> the wanted value or values.
        limit: most findings to show.
    """
    page = run.findings_page(where, limit=limit)
    text = f"{len(page.rows):,} of {page.total:,} findings"
    return Shown(f"<p><b>{text}</b></p>{_cards(run, page.rows.to_dict('records'))}", text)


def _cards(run: Run, records: Sequence[Mapping[Any, Any]]) -> str:
    evidence = [json.loads(record["evidence"]) for record in records]
    names = [shown_images(cell_value(record["sample_id"]), own)[:2] for record, own in zip(records, evidence, strict=True)]
    known = list(dict.fromkeys(name for own in names for name in own))
    rows = {name: row for name, row in zip(known, run.rows_of(known).tolist(), strict=True) if row >= 0} if known else {}
    data = dict(zip(rows, previews(run, list(rows.values())), strict=True))
    cards = []
    for record, own, of_card in zip(records, evidence, names, strict=True):
        images = "".join(_image(data.get(name), name, boxes_of(own) if at == 0 else [], len(of_card)) for at, name in enumerate(of_card))
        suggested = cell_value(record["suggested_label"])
        change = f"<br>{_text(record['label'])} → <b>{_text(suggested)}</b>" if suggested else ""
        color = _COLORS.get(str(record["severity"]), "inherit")
        title = f'<b style="color:{color}">{_text(record["severity"])}</b> {_text(record["check"])}'
        cards.append(f'<div style="{_CARD}">{images}<br>{title}{change}<br>{_text(record["message"])}</div>')
    return f"<div>{''.join(cards)}</div>"


def _image(data: bytes | None, name: str, boxes: Sequence[Any], beside: int) -> str:
    if data is None:
        return ""
    uri = base64.b64encode(outlined(data, boxes)).decode()
    width = 84 if beside > 1 else 172
    return f'<img alt="{_text(name)}" title="{_text(name)}" width="{width}" src="data:image/jpeg;base64,{uri}"> '


def _text(text: object) -> str:
    """Return text as HTML, also within attributes, without control characters."""
    return html.escape(safe(text), quote=True)
