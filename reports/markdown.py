"""A run as Markdown for a pull request: totals, the first findings to look at, and each check; short enough for a comment.

Names and messages are untrusted: they cannot start a link, heading, HTML or table cell, nor mention a user.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit.io.console import duration
from audit.io.markdown import code, escape
from reports.content.summary import summarize
from reports.content.wording import flagged, health, percent, subject, title, when

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audit import Run
    from reports.content.summary import Precision, Summary, Top

ENDINGS = (".md",)


def render(run: Run) -> str:
    """Return the report as GitHub-flavoured Markdown."""
    summary = summarize(run)
    parts = [f"## Audit of {code(str(summary.source.get('location', '?')))}", account(summary), _first(summary), check_table(summary), _rest(summary)]
    return "\n\n".join(part for part in parts if part) + "\n"


def account(summary: Summary) -> str:
    """Return what was scanned and how many findings there are."""
    counts = summary.counts
    severities = ", ".join(f"{title(name).lower()} {number:,}" for name, number in summary.issue_severities.items())
    backbone = f", backbone {escape(str(summary.backbone.get('name')))}" if summary.backbone else ""
    finished = f", finished {escape(when(summary.finished_at))}" if summary.finished_at else ""
    return (
        f"{counts.listed:,} images = {counts.scanned:,} scanned + {counts.failed:,} failed, {counts.classes:,} classes{backbone}, "
        f"took {duration(summary.seconds)}{finished}.\n\n**{summary.issues:,} issues** ({severities}): "
        f"{summary.findings:,} findings about {counts.flagged:,} images; {percent(summary.health)} of the images have no error or warning."
    )


def check_table(summary: Summary) -> str:
    """Return one row for each check that ran."""
    rows = [
        f"| {code(one.name)} | {one.findings:,} | {_tally(one.kinds)} | {flagged(one)} | {health(one)} | {_right(one.precision)} |"
        for one in summary.checks
    ]
    rows += [f"| {code(name)} | 0 | | | 100% | |" for name in summary.clean]
    if not rows:
        return ""
    return "\n".join(["| check | findings | kinds | errors and warnings about | health | correct of decided |", "|---|--:|---|---|--:|---|", *rows])


def _right(precision: Precision) -> str:
    return f"{precision.right:,} of {precision.decided:,}" if precision.decided else ""


def _first(summary: Summary) -> str:
    if not summary.top:
        return "Every finding has a decision." if summary.findings else "No findings."
    lines = [f"{number}. {_entry(finding)}" for number, finding in enumerate(summary.top, 1)]
    return "\n".join(["### Look at these first", "", *lines])


def _entry(finding: Top) -> str:
    who = code(subject(finding.sample_id, finding.label, finding.subject, {}))
    return f"**{title(finding.severity).lower()}** {finding.score:.2f} {code(finding.check)} {who}: {escape(finding.message)}"


def _rest(summary: Summary) -> str:
    lines = []
    if summary.duplicates.groups:
        pairs = _tally(summary.duplicates.relations)
        lines.append(f"- Duplicates: {summary.duplicates.images:,} images in {summary.duplicates.groups:,} groups; pairs: {pairs}.")
    if summary.leaving:
        lines.append(f"- For a clean split, remove: {_tally(summary.leaving)}.")
    if summary.decisions.decisions:
        who = ", ".join(code(name) for name in summary.decisions.reviewers)
        lines.append(f"- {summary.decisions.decisions:,} decisions by {who}; images: {_tally(summary.decisions.images)}.")
    if summary.label_test:
        lines.append(f"- Labels: {escape(summary.label_test)}")
    lines += [f"- {code(name)}: {escape(note)}" for name, note in summary.notes.items()]
    lines += [f"- Skipped {', '.join(map(code, names))}: {escape(reason)}." for reason, names in summary.skipped_for.items()]
    return "\n".join(lines)


def _tally(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{code(name)} {number:,}" for name, number in numbers.items())
