"""``imagenet-audit decisions``: what reviewers decided, to files and from files."""

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
@click.option("--sheet", metavar="FILE", type=PATH, help="Write the worst findings as a CSV sheet to fill in a verdict each.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Findings on the sheet.")
@click.option("--check", metavar="CHECK", help="Findings of this check alone on the sheet.")
@click.option("--import", "source", metavar="FILE", type=PATH, help="Take decisions from a sheet, or a .csv or .jsonl export.")
@click.option("--reviewer", metavar="NAME", help="Who decided, where the file does not say.  [default: the user's name]")
@click.option("--export", "target", metavar="FILE", type=PATH, help="Write the decisions that stand as .csv or .jsonl.")
@click.option("--undo", is_flag=True, help="Take back the reviewer's last action; one import is one action.")
@OUTPUT
def decisions(
    run: Path, limit: int, check: str | None, reviewer: str | None, *, undo: bool, as_json: bool, color: bool | None, **files: Path | None
) -> None:
    """Show, import, export and take back review decisions: keep, accept, relabel, drop or unsure.

    Decisions are kept in RUN/decisions.jsonl by content, so they survive rescans and renames. The images are never touched; the export command turns
    decisions into lists.
    """
    from audit import open_run
    from audit.review.decisions import Decisions

    given = click.get_current_context().get_parameter_source
    if files["sheet"] is None and ParameterSource.COMMANDLINE in (given("check"), given("limit")):
        raise click.UsageError("--check and --limit say what stands on a sheet; name it with --sheet")
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

        where = _of_check(opened, check)
        worst = opened.findings_page(where, precision=precision(log.current(), opened.findings_index), limit=limit).rows
        write_sheet(sheet, worst)
        done["sheet"] = {"file": str(sheet), "findings": len(worst)}
    if target := files["target"]:
        from audit.review.decision_files import write_decisions

        standing = log.current()
        write_decisions(target, standing)
        done["exported"] = {"file": str(target), "decisions": len(standing)}
    state = _state(opened, log)
    if as_json:
        print_json({**done, **state})
        return
    for line in _done(done):
        print_text(line, bold=True, color=wants_color(color=color))
    for line in _lines(state, run) if state["decisions"] or not done else ():
        print_text(line)


def _user() -> str:
    with suppress(Exception):  # no user name is known, as in a container
        return getpass.getuser()
    return "unknown"


def _of_check(run: Run, check: str | None) -> dict[str, str]:
    if check is not None:
        run.scores(check)  # says so where there is no such check, or it did not run
        return {"check": check}
    return {}


def _import(run: Run, log: Any, source: Path, reviewer: str) -> dict[str, Any]:
    from audit.review.decision_files import new_decisions, read_decisions

    given = read_decisions(source, run, reviewer=reviewer)
    fresh = new_decisions(given, log.current())
    for name in sorted({decision.reviewer for decision in fresh}):
        log.append([decision for decision in fresh if decision.reviewer == name])
    new_classes = sorted({decision.label for decision in fresh if decision.label} - {*run.classes})
    told = {"file": str(source), "decisions": len(fresh), "already_there": len(given) - len(fresh), "new_classes": new_classes}
    return {"imported": told}


def _state(run: Run, log: Any) -> dict[str, Any]:
    from audit.review.agreement import agreement, precision
    from audit.review.consensus import ACTIONS, settle_run
    from audit.review.decisions import VERDICTS
    from audit.review.review_depth import review_depth

    standing = log.current()
    settled = settle_run(run, standing)
    agreed = agreement(standing)
    measured = precision(standing, run.findings_index)
    depth = review_depth(run, standing)
    return {
        "decisions": len(standing),
        "reviewers": sorted(standing["reviewer"].unique()),
        "verdicts": {verdict: int((standing["verdict"] == verdict).sum()) for verdict in VERDICTS},
        "images": {action: int((settled["action"] == action).sum()) for action in ACTIONS},
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
        lines.append(f"taken back: {counted(done['undone'], 'decision')}")
    if "imported" in done:
        found = done["imported"]
        lines.append(f"imported {counted(found['decisions'], 'decision')} from {safe(found['file'])}; {found['already_there']:,} were there already")
        lines += [
            f"they relabel to {safe(name)!r}, a class that the dataset does not have: --undo takes the import back" for name in found["new_classes"]
        ]
    if "sheet" in done:
        sheet = done["sheet"]
        lines.append(
            f"wrote {counted(sheet['findings'], 'finding')} to {safe(sheet['file'])}; fill in the verdict column: keep, accept, relabel, drop, unsure"
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
    settled = ", ".join(f"{action} {number:,}" for action, number in state["images"].items() if number)
    if settled:
        lines.append(f"images: {settled}")
    if state["unreadable_lines"]:
        lines.append(f"lines that are no decision, passed over: {state['unreadable_lines']:,}")
    agreed = state["agreement"]
    if agreed["subjects"]:
        alpha = "" if agreed["krippendorff_alpha"] is None else f"; Krippendorff's alpha {agreed['krippendorff_alpha']:.2f}"
        lines.append(f"decided by two or more: {agreed['subjects']:,}, of them disputed {agreed['disputed']:,}{alpha}")
    lines += [
        f"{row['check']}: {row['right']:,} of {row['decided']:,} right, {row['precision']:.0%} (95% interval {row['low']:.0%} to {row['high']:.0%})"
        for row in state["precision"]
    ]
    if depth := state["label_review"]:
        worth_it = f"of the {depth['worth_it']:,} most suspicious labels half are expected to be wrong; " if depth["worth_it"] else ""
        nearly_all = f"the first {depth['nearly_all']:,} of {depth['labels']:,} hold {NEARLY_ALL:.0%} of all wrong ones"
        lines.append(f"how far to review labels, by these verdicts: {worth_it}{nearly_all}")
    return lines
