"""A run as one HTML file with embedded images, without scripts or network requests: read it offline, print it, attach it."""

from __future__ import annotations

import shlex
from functools import partial
from typing import TYPE_CHECKING, Any

from audit.checks import discover
from audit.images.boxes import boxes_of
from audit.io.console import duration, safe
from reports.content.evidence import evidence_lines
from reports.content.gallery import EXAMPLES_PER_CHECK, ImageLoader, groups_of, of_findings, of_pairs
from reports.content.summary import examples, summarize
from reports.content.wording import check_title, flagged, health, label, percent, subject, title, when

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import Environment

    from audit import Run

ENDINGS = (".html", ".htm")

DUPLICATE_CHECKS = ("exact_duplicates", "near_duplicates", "leakage")
"""Checks whose findings are shown side by side in groups."""


def render(run: Run) -> str:
    """Return the report. Names, labels and messages are untrusted: all are escaped, and unprintable characters become visible."""
    summary = summarize(run)
    loader = ImageLoader(run)
    top = of_findings(summary.top, loader)
    groups = groups_of(run, loader)
    pairs = of_pairs(run, summary.confused, loader)
    checks = discover()
    about_labels = [check.name for check in summary.checks if check.name in checks and checks[check.name].family == "labels"]
    labels = of_findings([finding for check in about_labels for finding in examples(run, check, EXAMPLES_PER_CHECK)], loader)
    rest = [check.name for check in summary.checks if check.name not in (*about_labels, *DUPLICATE_CHECKS)]
    others = [(name, of_findings(examples(run, name, EXAMPLES_PER_CHECK // 2), loader)) for name in rest]
    section = {name: f"check-{name}" for name in rest}
    section |= dict.fromkeys(about_labels, "labels") | dict.fromkeys(DUPLICATE_CHECKS, "groups" if groups else "checks")
    template = _environment(run.record.get("class_words") or {}).get_template("report.html.j2")
    return template.render(s=summary, top=top, labels=labels, groups=groups, pairs=pairs, others=others, section=section) + "\n"


def _environment(words: Mapping[str, str]) -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("reports"), autoescape=True, undefined=StrictUndefined, finalize=_visible, trim_blocks=False, keep_trailing_newline=False
    )
    environment.globals |= {
        "n": "{:,}".format,
        "percent": percent,
        "duration": duration,
        "when": when,
        "title": title,
        "check_title": check_title,
        "flagged": flagged,
        "health": health,
        "label": partial(label, words=words),
        "subject": partial(subject, words=words),
        "evidence": partial(evidence_lines, words=words),
        "boxes": boxes_of,
        "quote": lambda path: shlex.quote(str(path)),
    }
    environment.filters["title_of"] = title
    return environment


def _visible(value: Any) -> Any:
    """Make unprintable characters of plain strings visible; leave markup unchanged."""
    return safe(value) if type(value) is str else value
