"""``imagenet-audit check``: pass or fail a version of a dataset."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audit.commands.base import OUTPUT, SCANNING, print_json, print_text, run_scan, wants_color
from audit.console import safe
from audit.errors import ConfigError

if TYPE_CHECKING:
    from audit.versions.gate import Gate

FAILED = 1


@click.command()
@click.argument("source", metavar="SOURCE_OR_RUN")
@click.option("--policy", required=True, metavar="FILE", type=click.Path(path_type=Path), help="What must hold; see the init command.")
@click.option("--baseline", metavar="RUN", type=click.Path(path_type=Path), help="Run of the version before, for new findings and drift.")
@click.option("--first-run", is_flag=True, help="The baseline may be missing: rules that need it are passed over, and said.")
@click.option("--waivers", metavar="FILE", type=click.Path(path_type=Path), help="Findings that are accepted, with owner, reason and expiry.")
@click.option("--out", metavar="RUN", type=click.Path(path_type=Path), help="Run directory for a SOURCE; a temporary one where none is named.")
@SCANNING
@OUTPUT
def check(source: str, policy: Path, out: Path | None, *, first_run: bool, quiet: bool, as_json: bool, color: bool | None, **options: Any) -> int:
    """Hold a dataset, or a run of one, against a policy.

    Exit codes: 0 the policy is held, 1 it is not, 2 that could not be found out. A reviewer's decision to keep an image waives its finding.
    """
    from audit.checks import discover
    from audit.config import load
    from audit.versions.policy import read_policy

    asked = read_policy(policy, discover())
    accepted = _waivers(options.pop("waivers"))
    before = _baseline(options.pop("baseline"), first_run=first_run)
    with tempfile.TemporaryDirectory(prefix="imagenet-audit-") as scratch:
        path = Path(source)
        if not (path / "run.json").is_file():
            path = out or Path(scratch) / "run"
            run_scan(source, path, load(options, Path.cwd()), quiet=quiet, color=color)
        found = _judge(path, asked, accepted, before)
        if as_json:
            print_json(_document(found))
        else:
            _show(found, color=wants_color(color=color))
    return 0 if found.passed else FAILED


def _waivers(path: Path | None) -> list[Any]:
    from audit.versions.waivers import read_waivers

    return [] if path is None else read_waivers(path)


def _baseline(path: Path | None, *, first_run: bool) -> Any:
    from audit import open_run

    if path is None or (first_run and not path.exists()):
        return None
    if not path.exists():
        raise ConfigError(path, "there is no baseline there", "name the run of the version before; where there is none yet, add --first-run")
    return open_run(path)


def _judge(path: Path, policy: Any, waivers: list[Any], before: Any) -> Gate:
    from datetime import UTC, datetime

    from audit import open_run
    from audit.review.decisions import Decisions
    from audit.versions.comparison import compare
    from audit.versions.gate import judge
    from audit.versions.waivers import Waived, apply_waivers

    run = open_run(path)
    ids = run.findings_index["finding_id"].tolist()
    waived = apply_waivers(waivers, ids, datetime.now(UTC).date())
    decided = Decisions(path).current().dropna(subset=["finding_id"])
    kept = decided.groupby("finding_id")["verdict"].agg(lambda given: set(given) - {"unsure"} == {"keep"})
    waived = Waived(waived.ids | ({*kept[kept.astype(bool)].index} & {*ids}), waived.expired, waived.unmatched)
    return judge(run, policy, waived, None if before is None else compare(before, run))


def _document(gate: Gate) -> dict[str, Any]:
    import dataclasses

    from audit.versions.comparison_text import records

    return {
        "passed": gate.passed,
        "run": gate.run,
        "verdicts": [dataclasses.asdict(verdict) for verdict in gate.verdicts],
        "waived": sorted(gate.waived.ids),
        "expired_waivers": [waiver.finding for waiver in gate.waived.expired],
        "unmatched_waivers": [waiver.finding for waiver in gate.waived.unmatched],
        "notes": list(gate.notes),
        "findings": records(gate.findings),
    }


def _show(gate: Gate, *, color: bool) -> None:
    by_id = gate.findings.set_index("finding_id")
    for verdict in gate.verdicts:
        print_text(f"{verdict.state:<10} {safe(verdict.rule)}: {safe(verdict.message)}", bold=verdict.state == "failed", color=color)
        for finding_id in verdict.findings[:5]:
            row = by_id.loc[finding_id]
            place = next((name for name in (row["sample_id"], row["label"]) if isinstance(name, str)), "dataset")
            print_text(f"           {safe(place)}: {safe(row['message'])} [{finding_id}]")
        if len(verdict.findings) > 5:
            print_text(f"           and {len(verdict.findings) - 5:,} more")
    for word, waivers in (("expired", gate.waived.expired), ("matches no finding", gate.waived.unmatched)):
        for waiver in waivers:
            print_text(f"waiver {safe(waiver.finding)} of {safe(waiver.owner)}: {word}")
    for note in gate.notes:
        print_text(f"note: {safe(note)}")
    print_text(f"{'passed' if gate.passed else 'FAILED'}: {len(gate.verdicts):,} rules, {len(gate.waived.ids):,} findings waived", color=color)
