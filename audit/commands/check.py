"""``imagenet-audit check``: pass or fail a version of a dataset."""

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
"""Environment variables by which GitHub and GitLab name the repository's folder."""


@click.command()
@click.argument("source", metavar="SOURCE_OR_RUN")
@click.option("--policy", required=True, metavar="FILE", type=PATH, help="What must hold; see the init command.")
@click.option(
    "--baseline",
    metavar="RUN_OR_REPORT",
    type=PATH,
    help="Run of the version before, for new findings and drift; or its JSON report, for new findings.",
)
@click.option("--since", metavar="LOCK", type=PATH, help="Count only findings about what changed since; see the lock command.")
@click.option("--first-run", is_flag=True, help="Baseline and lock may be missing: rules that need them are passed over, and said.")
@click.option("--waivers", metavar="FILE", type=PATH, help="Findings that are accepted, with owner, reason and expiry.")
@click.option("--decisions", metavar="FILE", type=PATH, help="Reviewers' decisions beside those of RUN and the baseline: .jsonl or .csv.")
@click.option(
    "--report",
    "reports",
    metavar="FORMAT=FILE",
    multiple=True,
    help=f"Also write the result as one of {listed(GATE_FORMATS)}; FILE - prints it in place of the text. May be repeated.",
)
@click.option("--github/--no-github", default=None, help="Annotations and a job summary for GitHub Actions; by default where GITHUB_ACTIONS is true.")
@click.option("--out", metavar="RUN", type=PATH, help="Run directory for a SOURCE; a temporary one where none is named.")
@SCANNING
@OUTPUT
def check(source: str, policy: Path, *, as_json: bool, github: bool | None, **options: Any) -> int:
    """Hold a dataset, or a run of one, against a policy.

    Exit codes: 0 the policy is held, 1 it is not, 2 that could not be found out, as where no rule could be judged, or the scan left out a limit's
    check. A reviewer's decision to keep an image waives its finding.
    """
    from audit.gate import github_host

    on_github = github_host.inside() if github is None else github
    stream = sys.stderr if as_json else sys.stdout
    with github_host.commands_off(stream) if on_github else nullcontext():
        gate = _check(source, policy, as_json=as_json, **options)
    if on_github:
        github_host.tell(gate, stream)
    return gate.exit_code


def _check(source: str, policy: Path, *, reports: tuple[str, ...], first_run: bool, as_json: bool, color: bool | None, **options: Any) -> Gate:
    from audit.checks import discover
    from audit.gate.lock import read_lock
    from audit.gate.policy import read_policy
    from audit.gate.waivers import read_waivers

    asked = read_policy(policy, discover())
    wanted = _reports(reports, as_json=as_json)
    waivers, decisions = options.pop("waivers"), options.pop("decisions")
    accepted = [] if waivers is None else read_waivers(waivers)
    baseline = options.pop("baseline")
    _refuse_itself(baseline, source, options["out"])
    before = _baseline(baseline, first_run=first_run)
    since = options.pop("since")
    locked = None
    if since is not None and (since.exists() or not first_run):
        locked = since, read_lock(since)
    elif since is not None:
        say(f"note: there is no lock {since} yet: all findings count")
    with tempfile.TemporaryDirectory(prefix="imagenet-audit-") as scratch:
        run = _run(source, Path(scratch) / "run", color=color, **options)
        gate = _judge(run, asked, accepted, decisions, before, locked, first_run=first_run)
        if run.path.is_relative_to(scratch):  # by the end there is no such folder, and its name is another each time
            gate = replace(gate, run="")
        printed = [_write(name, place, gate) for name, place in wanted]
        if as_json:
            from audit.gate.text import document

            print_json(document(gate))
        elif not any(printed):
            _show(gate, color=wants_color(color=color))
    return gate


def _run(source: str, scratch: Path, *, out: Path | None, quiet: bool, color: bool | None, **options: Any) -> Run:
    """Open a run, or scan a dataset."""
    from audit.config import load
    from audit.gate.target import given_run

    run = given_run(source)
    if run is not None:
        if out is not None:  # a run.json inside a dataset must not stand for its images
            hint = f"leave out --out; where it is a dataset, take {Path(source) / 'run.json'} out of it"
            raise ConfigError("--out", f"{source} is a run already, so that nothing would be scanned", hint)
        return run
    return run_scan(source, out or scratch, load(options, Path.cwd()), quiet=quiet, color=color, kept=out is not None)


def _reports(given: tuple[str, ...], *, as_json: bool) -> list[tuple[str, Path]]:
    """Return format and file of each report that is asked for."""
    from audit.gate.formats import FORMATS

    found: list[tuple[str, Path]] = []
    for text in given:
        name, equals, place = text.partition("=")
        if not equals or not place:
            raise ConfigError("--report", f"{text!r} names no file", "write FORMAT=FILE, such as junit=audit.xml")
        if name not in FORMATS:
            raise ConfigError("--report", f"unknown format {name!r}", nearest(name, FORMATS))
        if place == "-" and (as_json or any(str(other) == "-" for _, other in found)):
            raise ConfigError("--report", "standard output can hold one document", "name a file for the others")
        if place != "-" and not Path(place).parent.is_dir():
            raise ConfigError(Path(place).parent, "there is no such folder", "make it, or name another file")
        twin = next((other for other, file in found if os.path.realpath(file) == os.path.realpath(place)), None)
        if twin is not None:
            raise ConfigError("--report", f"{twin} and {name} would be written to one file, {place}", "name another for one of them")
        found.append((name, Path(place)))
    return found


def _write(name: str, place: Path, gate: Gate) -> bool:
    """Write one report; return whether it was printed."""
    from audit.gate.formats import render
    from audit.io.artifacts import replacing

    text = render(name, gate)
    if str(place) == "-":
        print_text(text, nl=False)
        return True
    with replacing(place) as file:
        file.write(text.encode("utf-8", "backslashreplace"))
    return False


def _baseline(path: Path | None, *, first_run: bool) -> Run | KnownFindings | None:
    from audit import open_run
    from audit.gate.baseline import read_findings

    if path is None:
        return None
    if first_run and not path.exists():
        say(f"note: there is no baseline {path} yet: rules that need one are not judged")
        return None
    if not path.exists():
        raise ConfigError(
            path, "there is no baseline there", "name the run of the version before, or its JSON report; where there is none yet, add --first-run"
        )
    return read_findings(path) if path.is_file() else open_run(path)


def _refuse_itself(baseline: Path | None, source: str, out: Path | None) -> None:
    """Nothing is new against the run in question itself, nor against a baseline that its scan has written over."""
    run = source if (Path(source) / "run.json").is_file() else out
    if baseline is not None and run is not None and os.path.realpath(baseline) == os.path.realpath(run):
        raise ConfigError(baseline, "is the run in question itself, against which nothing is new", "name a copy of the run of the version before")


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

    from audit.diff.comparison import compare, compare_findings
    from audit.diff.sample_changes import COLUMNS
    from audit.gate.gate import judge
    from audit.gate.lock import changes_since
    from audit.gate.waivers import Waived, apply_waivers, kept
    from audit.review.decision_files import read_decisions
    from audit.review.decisions import Decisions, latest
    from audit.run.run import Run

    decided = [decision for place in (before, run) if isinstance(place, Run) for decision in Decisions(place.path).every()]
    decided += [] if decisions is None else read_decisions(decisions, run)
    waived = apply_waivers(waivers, run.findings_index["finding_id"].tolist(), datetime.now(UTC).date())
    waived = Waived(waived.ids | kept(latest(decided), run.findings), waived.expired, waived.unmatched)
    root = next((Path(os.environ[name]) for name in _ROOTS if os.environ.get(name)), Path())
    since = None if locked is None else changes_since(locked[1], run.columns(*COLUMNS))
    lock = "" if locked is None else str(locked[0])
    difference = None if before is None else compare(before, run) if isinstance(before, Run) else compare_findings(before, run)
    return judge(run, policy, waived, difference, root, since=since, lock=lock, first_run=first_run)


def _show(gate: Gate, *, color: bool) -> None:
    from audit.gate.text import lines

    for line in lines(gate):
        print_text(line, bold=line.startswith(("failed", "unknown")), color=color)
