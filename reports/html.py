"""A run as one HTML file: pictures inside, no script, no request to anywhere; read offline, printed, attached to a ticket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audit.console import duration, safe
from audit.shown_images import boxes_of
from reports.gallery import EXAMPLES_PER_CHECK, Pictures, evidence_lines, groups_of, of_findings, of_pairs
from reports.summary import examples, summarize

if TYPE_CHECKING:
    from jinja2 import Environment

    from audit import Run

LABEL_CHECKS = ("label_errors", "conflicting_labels")
DUPLICATE_CHECKS = ("exact_duplicates", "near_duplicates", "leakage")
"""Shown side by side in groups instead of one by one."""


def render(run: Run) -> str:
    """Return the report. Names, labels and sentences are other people's text: all are escaped, and what cannot be printed becomes visible."""
    summary = summarize(run)
    pictures = Pictures(run)
    top = of_findings(summary.top, pictures)
    groups = groups_of(run, pictures)
    pairs = of_pairs(run, summary.confused, pictures)
    labels = of_findings([finding for check in LABEL_CHECKS for finding in examples(run, check, EXAMPLES_PER_CHECK)], pictures)
    rest = [check.name for check in summary.checks if check.name not in (*LABEL_CHECKS, *DUPLICATE_CHECKS)]
    others = [(name, of_findings(examples(run, name, EXAMPLES_PER_CHECK // 2), pictures)) for name in rest]
    template = _environment().get_template("report.html.j2")
    return template.render(s=summary, top=top, labels=labels, groups=groups, pairs=pairs, others=others) + "\n"


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("reports"), autoescape=True, undefined=StrictUndefined, finalize=_visible, trim_blocks=False, keep_trailing_newline=False
    )
    environment.globals |= {"n": "{:,}".format, "percent": percent, "duration": duration, "evidence": evidence_lines, "boxes": boxes_of}
    return environment


def percent(share: float) -> str:
    """Say a share; what is not all is never said to be 100%, and what is not nothing never 0%.

    >>> percent(1.0), percent(0.9999), percent(0.5), percent(0.0001)
    ('100%', '>99.9%', '50.0%', '<0.1%')
    """
    if share in (0, 1):
        return f"{share:.0%}"
    return ">99.9%" if share > 0.999 else "<0.1%" if share < 0.001 else f"{share:.1%}"


def _visible(value: Any) -> Any:
    """Make what cannot be printed visible; finished markup is left as it is."""
    return safe(value) if type(value) is str else value
