"""``imagenet-audit decisions``: show, import, export and undo review decisions."""

from __future__ import annotations

import dataclasses
import getpass
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from audit.commands.base import OUTPUT, PATH, how_to_decide, print_json, print_text, wants_color
from audit.io.console import counted, safe

if TYPE_CHECKING:
    from audit import Run


@click.command()
@click.argument("run", type=PATH)
@click.option("--sheet", metavar="FILE", type=PATH, help="Write the worst findings to a CSV review sheet with a verdict column to fill in.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", default=100, show_default=True, help="Maximum number of findings on the sheet.")
@click.option("--check", metavar="CHECK", help="Only put findings of this check on the sheet.")
@click.option("--import", "source", metavar="FILE", type=PATH, help="Import decisions from a review sheet or from a .csv or .jsonl export.")
@click.option("--reviewer", metavar="NAME", help="Reviewer for decisions that do not name one.  [default: the user name]")
@click.option("--export", "target", metavar="FILE", type=PATH, help="Write the current decisions as .csv or .jsonl.")
@click.option("--undo", is_flag=True, help="Undo the reviewer's last action; one import is one action.")
@OUTPUT
def decisions(
    run: Path, limit: int, check: str | None, reviewer: str | None, *, undo: bool, as_json: bool, color: bool | None, **files: Path | None
) -> None:
    """Show, import, export or undo review decisions.

    A decision is keep, accept, relabel, drop or unsure. RUN/decisions.jsonl stores decisions by image content, so they survive rescans and renames.
    The images are never changed; the export command turns decisions into files.
    """
    from audit import open_run
    from audit.review.decisions import Decisions

    given = click.get_current_context().get_parameter_source
    if files["sheet"] is None and ParameterSource.COMMANDLINE in (given("check"), given("limit")):
        raise click.UsageError("--check and --limit apply to a review sheet; add --sheet FILE")
    opened = open_run(run)
    log = Decisions(run)
    done: dict[str, Any] = {}
    if undo:
        done["undone"] = len(log.undo(reviewer or _user()))
    if source := files["source"]:
        done |= _import(opened, log, source, reviewer or _user())
    if sheet := files["sheet"]:
        from audit.review.agreement import precision
        from audit.review.decision_files import write_sheet

        if check is not None:
            opened.scores(check)  # raises if the check is unknown or did not run
        where = {} if check is None else {"check": check}
        worst = opened.findings_page(where, precision=precision(log.current(), opened.findings_index), limit=limit).rows
        write_sheet(sheet, worst)
        done["sheet"] = {"file": str(sheet), "findings": len(worst)}
    if target := files["target"]:
        from audit.review.decision_files import write_decisions

        current = log.current()
        write_decisions(target, current)
        done["exported"] = {"file": str(target), "decisions": len(current)}
    state = _state(opened, log)
    if as_json:
        print_json({**done, **state})
        return
    for line in _done(done):
        print_text(line, bold=True, color=wants_color(color=color))
    for line in _lines(state, run) if state["decisions"] or not done else ():
        print_text(line)


def _user() -> str:
    with suppress(Exception):  # a container may have no user name
        return getpass.getuser()
    return "unknown"


def _import(run: Run, log: Any, source: Path, reviewer: str) -> dict[str, Any]:
    from audit.review.decision_files import new_decisions, read_decisions

    given = read_decisions(source, run, reviewer=reviewer)
    fresh = new_decisions(given, log.current())
    for name in sorted({decision.reviewer for decision in fresh}):
        log.append([decision for decision in fresh if decision.reviewer == name])
    new_classes = sorted({decision.label for decision in fresh if decision.label} - {*run.classes})
    return {"imported": {"file": str(source), "decisions": len(fresh), "already_there": len(given) - len(fresh), "new_classes": new_classes}}


def _state(run: Run, log: Any) -> dict[str, Any]:
    from audit.review.agreement import agreement, precision
    from audit.review.consensus import ACTIONS, consensus_of_run
    from audit.review.decisions import VERDICTS
    from audit.review.review_depth import review_depth

    current = log.current()
    actions = consensus_of_run(run, current)["action"]
    agreed = agreement(current)
    measured = precision(current, run.findings_index)
    depth = review_depth(run, current)
    return {
        "decisions": len(current),
        "reviewers": sorted(current["reviewer"].unique()),
        "verdicts": {verdict: int((current["verdict"] == verdict).sum()) for verdict in VERDICTS},
        "images": {action: int((actions == action).sum()) for action in ACTIONS},
        "unreadable_lines": log.unreadable,
        "agreement": {
            "subjects": agreed.subjects,
            "disputed": agreed.disputed,
            "krippendorff_alpha": agreed.alpha,
            "pairs": agreed.pairs.astype(object).where(agreed.pairs.notna(), None).to_dict("records"),
        },
        "precision": measured[measured["decided"] > 0].to_dict("records"),
        "label_review": None if depth is None else dataclasses.asdict(depth),
    }


def _done(done: dict[str, Any]) -> list[str]:
    lines = []
    if "undone" in done:
        lines.append(f"undone: {counted(done['undone'], 'decision')}")
    if "imported" in done:
        found = done["imported"]
        lines.append(f"imported {counted(found['decisions'], 'decision')} from {safe(found['file'])}; {found['already_there']:,} already known")
        lines += [
            f"warning: relabels to {safe(name)!r}, a class that is not in the dataset; --undo reverts the import" for name in found["new_classes"]
        ]
    if "sheet" in done:
        sheet = done["sheet"]
        lines.append(
            f"wrote {counted(sheet['findings'], 'finding')} to {safe(sheet['file'])}; fill in the verdicts (keep, accept, relabel, drop, unsure)"
        )
    if "exported" in done:
        lines.append(f"wrote {counted(done['exported']['decisions'], 'decision')} to {safe(done['exported']['file'])}")
    return lines


def _lines(state: dict[str, Any], run: Path) -> list[str]:
    from audit.review.review_depth import NEARLY_ALL

    if not state["decisions"]:
        return [f"no decisions yet; {how_to_decide(run)}"]
    given = ", ".join(f"{verdict} {number:,}" for verdict, number in state["verdicts"].items() if number)
    lines = [f"{counted(state['decisions'], 'decision')} by {', '.join(map(safe, state['reviewers']))}: {given}"]
    actions = ", ".join(f"{action} {number:,}" for action, number in state["images"].items() if number)
    if actions:
        lines.append(f"images: {actions}")
    if state["unreadable_lines"]:
        lines.append(f"skipped {counted(state['unreadable_lines'], 'unreadable line')}")
    agreed = state["agreement"]
    if agreed["subjects"]:
        alpha = "" if agreed["krippendorff_alpha"] is None else f"; Krippendorff's alpha {agreed['krippendorff_alpha']:.2f}"
        lines.append(f"decided by two or more reviewers: {agreed['subjects']:,}, disputed: {agreed['disputed']:,}{alpha}")
    lines += [
        f"{row['check']}: {row['right']:,} of {row['decided']:,} findings right, precision {row['precision']:.0%} "
        f"(95% interval {row['low']:.0%} to {row['high']:.0%})"
        for row in state["precision"]
    ]
    if depth := state["label_review"]:
        worth_it = f"half of the {depth['worth_it']:,} most suspicious labels are expected to be wrong; " if depth["worth_it"] else ""
        nearly_all = f"the first {depth['nearly_all']:,} of {depth['labels']:,} are expected to hold {NEARLY_ALL:.0%} of all wrong labels"
        lines.append(f"labels to review, estimated from these verdicts: {worth_it}{nearly_all}")
    return lines
