"""A run as a ranked summary, for a terminal of any width or a text file.

Every name and message passes through `audit.io.console.safe`, so a file name cannot break a line or send control sequences to the terminal.
"""

from __future__ import annotations

import io
import shlex
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from audit.io.console import counted, duration, safe
from reports.content.summary import Summary, summarize
from reports.content.wording import subject, title, when

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audit import Run
    from reports.content.summary import CheckTotal, Top

ENDINGS = (".txt",)

WIDTH = 100
"""Default number of columns."""

STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}

SPLITS_SHOWN = 6
_MOST = 8
"""Kinds of one check that are listed."""


def render(run: Run, *, width: int | None = None, color: bool = False) -> str:
    """Return the summary as text.

    Args:
        run: a finished run.
        width: columns to wrap at; `WIDTH` where None.
        color: emphasise with terminal colors.
    """
    summary = summarize(run)
    parts: list[RenderableType] = [_heading(summary), _verdict(summary), *(_check(total) for total in summary.checks), _rest(summary), _next(summary)]
    sink = io.StringIO()
    console = Console(
        file=sink,
        width=width or WIDTH,
        force_terminal=color,
        color_system="standard" if color else None,
        highlight=False,
        emoji=False,
        legacy_windows=False,
    )
    console.print(Group(*parts), crop=False)
    return "".join(f"{line.rstrip()}\n" for line in sink.getvalue().splitlines())


def explain_command(summary: Summary, finding: Top) -> str:
    """Return the command that explains a finding's image; an unprintable name is replaced by the start of the content id."""
    sample = finding.sample_id or ""
    if not sample.isprintable() and finding.content_id:
        sample = finding.content_id[:16]
    return f"imagenet-audit explain {shlex.quote(str(summary.path))} {shlex.quote(sample)}"


def _heading(summary: Summary) -> Text:
    counts, source, backbone = summary.counts, summary.source, summary.backbone
    facts = [counted(counts.listed, "image")]
    if counts.classes:
        facts.append(counted(counts.classes, "class"))
    elif counts.listed:
        facts.append("no labels")
    if 0 < counts.labelled < counts.listed:
        facts.append(f"{counts.listed - counts.labelled:,} without label")
    if counts.splits:
        shown = [f"{safe(split)} {count:,}" for split, count in list(counts.splits.items())[:SPLITS_SHOWN]]
        more = len(counts.splits) - len(shown)
        facts.append("splits " + ", ".join([*shown, *([f"{more:,} more"] if more else [])]))
        if without := counts.listed - sum(counts.splits.values()):
            facts.append(f"{without:,} without split")
    outcomes = _tally(counts.outcomes)
    lines = [
        Text.assemble((safe(source.get("location", "?")), "bold"), f"  ({safe(source.get('kind', '?'))}: {'; '.join(facts)})"),
        Text(f"listed {counts.listed:,} = scanned {counts.scanned:,} + failed {counts.failed:,}" + (f" ({outcomes})" if outcomes else "")),
    ]
    ignored = {name: number for name, number in dict(source.get("ignored") or {}).items() if number}
    if ignored:
        lines.append(Text(f"ignored: {_tally(ignored)}"))
    if backbone:
        device = " ".join(safe(backbone[key]) for key in ("device", "precision") if backbone.get(key))
        reason = f": {safe(backbone['reason'])}" if backbone.get("reason") else ""
        lines.append(Text(f"backbone {safe(backbone.get('name', '?'))}{f' on {device}' if device else ''}{reason}"))
    return Text("\n").join(lines)


def _verdict(summary: Summary) -> Text:
    if not summary.findings:
        return Text("\nNo findings.", style="bold")
    words = {"error": "error", "warning": "warning", "info": "note"}
    parts = [Text(counted(number, words[severity]), STYLES[severity]) for severity, number in summary.issue_severities.items() if number]
    about = f" about {counted(summary.counts.flagged, 'image')}" if summary.counts.flagged else ""
    whole = f" ({counted(summary.findings, 'finding')}{about})"
    return Text.assemble("\n", (counted(summary.issues, "issue"), "bold"), ": ", Text(", ").join(parts), whole)


def _check(total: CheckTotal) -> RenderableType:
    kinds = _tally(total.kinds) if list(total.kinds) != [total.name] else ""
    head = Text.assemble("\n", (safe(total.name), "bold"), f"  {total.findings:,}", f"  ({kinds})" if kinds else "")
    entries = [_entry(finding) for finding in total.worst] if total.issues else []
    more = total.issues - len(entries)
    if more:
        entries.append(Text(f"and {counted(more, 'more issue')}", style="dim"))
    if total.elsewhere:
        entries.append(Text(f"{counted(total.elsewhere, 'finding')} about images and groups that are listed with other checks", style="dim"))
    return Group(head, *(Padding(entry, (0, 0, 0, 2)) for entry in entries))


def _entry(finding: Top) -> Text:
    severity = (title(finding.severity).lower(), STYLES[finding.severity])
    who = (safe(subject(finding.sample_id, finding.label, finding.subject, {})), "bold")
    return Text.assemble(severity, f" {finding.score:.2f}  ", who, f"  {safe(finding.message)}")


def _rest(summary: Summary) -> Text:
    lines = []
    if summary.clean:
        lines.append(Text(f"no findings: {', '.join(summary.clean)}"))
    lines += [Text(f"{name}: {safe(note)}") for name, note in summary.notes.items()]
    lines += [Text(f"skipped {', '.join(names)}: {safe(reason)}") for reason, names in summary.skipped_for.items()]
    if summary.label_test:
        lines.append(Text(f"labels: {safe(summary.label_test)}"))
    if summary.seconds:
        finished = f", finished {safe(when(summary.finished_at))}" if summary.finished_at else ""
        lines.append(Text(f"took {duration(summary.seconds)}{finished}"))
    return Text("\n").join([Text(), *lines]) if lines else Text()


def _next(summary: Summary) -> RenderableType:
    steps = []
    run = shlex.quote(str(summary.path))
    if summary.findings:
        steps.append(("review in the browser:", f"imagenet-audit dashboard {run}"))
    about = next((finding for finding in summary.top if finding.sample_id is not None), None)
    if about:
        steps.append(("explain one image:", explain_command(summary, about)))
    if summary.findings:
        steps.append(("write one HTML file to share:", f"imagenet-audit report {run}"))
        steps.append(("all findings as one table, for pandas, DuckDB or Polars:", f"{safe(summary.path)}/findings"))
    # A wrapped command could not be copied.
    lines = [(Text(f"  {what}"), Text(f"    {how}", no_wrap=True, overflow="ignore")) for what, how in steps]
    return Group(Text("\nnext", style="bold"), *(line for pair in lines for line in pair)) if steps else Text()


def _tally(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{safe(name)} {number:,}" for name, number in list(numbers.items())[:_MOST])
