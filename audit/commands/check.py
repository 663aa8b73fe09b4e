"""``imagenet-audit check``: pass or fail a dataset version."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audit.commands.base import OUTPUT, PATH, SCANNING, listed, print_json, print_text, run_scan, say, wants_color
from audit.errors import ConfigError, nearest
from audit.io.plugins import GATE_FORMATS

if TYPE_CHECKING:
    from audit.gate.baseline import KnownFindings
    from audit.gate.gate import Gate
    from audit.run.run import Run

_ROOTS = ("GITHUB_WORKSPACE", "CI_PROJECT_DIR")
"""Environment variables in which GitHub and GitLab store the repository's folder."""


@click.command()
@click.argument("source", metavar="SOURCE_OR_RUN")
@click.option("--policy", required=True, metavar="FILE", type=PATH, help="Policy file; the init command writes a starter.")
@click.option(
    "--baseline",
    metavar="RUN_OR_REPORT",
    type=PATH,
    help="Previous version's run, for new findings and drift, or its JSON report, for new findings only.",
)
@click.option("--since", metavar="LOCK", type=PATH, help="Count only findings about what changed since this lock; see the lock command.")
@click.option("--first-run", is_flag=True, help="Rules whose baseline or lock does not exist yet are skipped and listed.")
@click.option("--waivers", metavar="FILE", type=PATH, help="Accepted findings, with owner, reason and expiry.")
@click.option("--decisions", metavar="FILE", type=PATH, help="More review decisions (.jsonl or .csv), in addition to those of RUN and the baseline.")
@click.option(
    "--report",
    "reports",
    metavar="FORMAT=FILE",
    multiple=True,
    help=f"Also write the result as one of {listed(GATE_FORMATS)}; '-' as FILE prints it instead of the text; may be repeated.",
)
@click.option(
    "--github/--no-github", default=None, help="Write annotations and a job summary for GitHub Actions.  [default: if GITHUB_ACTIONS is true]"
)
@click.option("--out", metavar="RUN", type=PATH, help="Run directory for a SOURCE.  [default: a temporary one]")
@click.option("--trust-mtime", is_flag=True, help="Do not read files of the size and modification time that --out holds to compare their digests.")
@SCANNING
@OUTPUT
def check(source: str, policy: Path, *, as_json: bool, github: bool | None, **options: Any) -> int:
    """Check a dataset, or a run of one, against a policy.

    A reviewer's decision to keep an image waives its finding.

    Exit codes: 0 passed; 1 failed; 2 undetermined (no rule could be evaluated, or a limited check did not run) or error.
    """
    from audit.gate import github_host

    on_github = github_host.inside() if github is None else github
    stream = sys.stderr if as_json else sys.stdout
    with github_host.commands_off(stream) if on_github else nullcontext():
        gate = _check(source, policy, as_json=as_json, **options)
    if on_github:
        github_host.report(gate, stream)
    return gate.exit_code


def _check(source: str, policy: Path, *, reports: tuple[str, ...], first_run: bool, as_json: bool, color: bool | None, **options: Any) -> Gate:
    from audit.checks import discover
    from audit.gate.baseline import KnownFindings
    from audit.gate.lock import read_lock
    from audit.gate.policy import read_policy
    from audit.gate.waivers import read_waivers

    rules = read_policy(policy, discover())
    wanted = _reports(reports, as_json=as_json)
    waivers, decisions = options.pop("waivers"), options.pop("decisions")
    accepted = [] if waivers is None else read_waivers(waivers)
    baseline = options.pop("baseline")
    _refuse_itself(baseline, source, options["out"])
    before = _baseline(baseline, first_run=first_run)
    since = options.pop("since")
    locked = None
    # `git show BRANCH:audit.lock > FILE` leaves an empty file if the branch has no lock.
    if since is not None and not (first_run and (not since.exists() or since.stat().st_size == 0)):
        locked = since, read_lock(since)
    elif since is not None:
        say(f"note: lock {since} does not exist yet: all findings count")
    with tempfile.TemporaryDirectory(prefix="imagenet-audit-") as scratch:
        old = None if before is None or isinstance(before, KnownFindings) else before.path
        run = _run(source, Path(scratch) / "run", color=color, baseline=old, **options)
        gate = _judge(run, rules, accepted, decisions, before, locked, first_run=first_run)
        if run.path.is_relative_to(scratch):  # deleted at the end, and named differently each time
            gate = replace(gate, run="")
        printed = [_write(name, path, gate) for name, path in wanted]
        if as_json:
            from audit.gate.text import document

            print_json(document(gate))
        elif not any(printed):
            _show(gate, color=wants_color(color=color))
    return gate


def _run(source: str, scratch: Path, *, out: Path | None, quiet: bool, color: bool | None, baseline: Path | None, **options: Any) -> Run:
    """Open a run, or scan a dataset; label reports are steady as to a baseline that is a run."""
    from audit.config import load
    from audit.gate.target import given_run

    run = given_run(source)
    if run is not None:
        if out is not None:  # a run.json inside a dataset must not replace its images
            hint = f"omit --out; if {source} is a dataset, remove {Path(source) / 'run.json'}"
            raise ConfigError("--out", f"{source} is already a run, so nothing would be scanned", hint)
        return run
    return run_scan(source, out or scratch, load(options, Path.cwd()), quiet=quiet, color=color, kept=out is not None, baseline=baseline)


def _reports(given: tuple[str, ...], *, as_json: bool) -> list[tuple[str, Path]]:
    """Return format and file of each requested report."""
    from audit.gate.formats import FORMATS

    found: list[tuple[str, Path]] = []
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or not path:
            raise ConfigError("--report", f"{text!r} names no file", "write FORMAT=FILE, such as junit=audit.xml")
        if name not in FORMATS:
            raise ConfigError("--report", f"unknown format {name!r}", nearest(name, FORMATS))
        if path == "-" and (as_json or any(str(other) == "-" for _, other in found)):
            raise ConfigError("--report", "only one document can go to standard output", "write the others to files")
        if path != "-" and not Path(path).parent.is_dir():
            raise ConfigError(Path(path).parent, "no such folder", "create it, or choose another file")
        other = next((other for other, file in found if os.path.realpath(file) == os.path.realpath(path)), None)
        if other is not None:
            raise ConfigError("--report", f"{other} and {name} would be written to the same file, {path}", "choose a different file for each")
        found.append((name, Path(path)))
    return found


def _write(name: str, path: Path, gate: Gate) -> bool:
    """Write one report; return whether it was printed."""
    from audit.gate.formats import render
    from audit.io.artifacts import replacing

    text = render(name, gate)
    if str(path) == "-":
        print_text(text, nl=False)
        return True
    with replacing(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))
    return False


def _baseline(path: Path | None, *, first_run: bool) -> Run | KnownFindings | None:
    from audit import open_run
    from audit.gate.baseline import read_findings

    if path is None:
        return None
    if first_run and not path.exists():
        say(f"note: baseline {path} does not exist yet: rules that need one are not judged")
        return None
    if not path.exists():
        raise ConfigError(path, "no such baseline", "pass the previous version's run or its JSON report, or --first-run if there is none yet")
    return read_findings(path) if path.is_file() else open_run(path)


def _refuse_itself(baseline: Path | None, source: str, out: Path | None) -> None:
    """Refuse the checked run, or the run directory its scan overwrites, as its own baseline: nothing would ever be new."""
    run = source if (Path(source) / "run.json").is_file() else out
    if baseline is not None and run is not None and os.path.realpath(baseline) == os.path.realpath(run):
        raise ConfigError(baseline, "is the checked run itself, so nothing would be new", "pass a copy of the previous version's run")


def _judge(
    run: Run,
    policy: Any,
    waivers: list[Any],
    decisions: Path | None,
    before: Run | KnownFindings | None,
    locked: tuple[Path, Any] | None,
    *,
    first_run: bool,
) -> Gate:
    from datetime import UTC, datetime

    from audit.diff.comparison import Difference, FindingsDifference, compare, compare_findings
    from audit.diff.sample_changes import COLUMNS
    from audit.gate.gate import judge
    from audit.gate.lock import changes_since
    from audit.gate.waivers import Waived, apply_waivers, kept
    from audit.review.decision_files import read_decisions
    from audit.review.decisions import Decisions, latest
    from audit.run.run import Run

    decided = [decision for side in (before, run) if isinstance(side, Run) for decision in Decisions(side.path).every()]
    decided += [] if decisions is None else read_decisions(decisions, run)
    waived = apply_waivers(waivers, run.findings_index["finding_id"].tolist(), datetime.now(UTC).date())
    waived = Waived(waived.ids | kept(latest(decided), run.findings), waived.expired, waived.unmatched)
    root = next((Path(os.environ[name]) for name in _ROOTS if os.environ.get(name)), Path())
    since = None if locked is None else changes_since(locked[1], run.columns(*COLUMNS))
    lock = "" if locked is None else str(locked[0])
    difference: Difference | FindingsDifference | None = None
    if isinstance(before, Run):
        difference = compare(before, run)
    elif before is not None:
        changes = None if before.lock is None else changes_since(before.lock, run.columns(*COLUMNS))
        difference = compare_findings(before, run, changes)
    return judge(run, policy, waived, difference, root, since=since, lock=lock, first_run=first_run)


def _show(gate: Gate, *, color: bool) -> None:
    from audit.gate.text import lines

    for line in lines(gate):
        print_text(line, bold=line.startswith(("failed", "unknown")), color=color)
