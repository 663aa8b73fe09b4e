"""A scan killed at random moments, again and again, and started again each time: in the end it has what an undisturbed scan has."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import psutil
import pytest

import audit


def facts(run):
    return run.findings.sort_values("finding_id").reset_index(drop=True)


def same(run, whole):
    pd.testing.assert_frame_equal(run.samples, whole.samples)
    assert np.array_equal(run.embeddings, whole.embeddings, equal_nan=True)
    assert np.array_equal(run.neighbors, whole.neighbors)
    pd.testing.assert_frame_equal(run.pairs, whole.pairs)
    pd.testing.assert_frame_equal(facts(run), facts(whole))


def began(folder):
    """Whether a scan has got as far as to write something anew."""
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} if folder.is_dir() else {}


@pytest.mark.slow
def test_killed_again_and_again_it_ends_like_an_undisturbed_scan(tmp_path, counts, tally, dataset, start):
    """Kills fall into starting, listing, reading, moving into place, neighbors, predictions and checks: each scan lives a random time."""
    data = dataset(per_class=160 if counts.kills > 10 else 70)
    line = ["scan", data, "--backbone", "embedded", "--offline", "--quiet", "--device", "cpu"]
    whole_began = time.monotonic()
    assert start(*line, "--out", tmp_path / "whole").wait(600) == 0
    lasts = time.monotonic() - whole_began
    whole = audit.open_run(tmp_path / "whole")
    random, killed, finished = np.random.default_rng(counts.seed), 0, 0
    states = set()
    round_ = 0
    while killed < counts.kills:
        run = tmp_path / f"run-{round_}"
        process = start(*line, "--out", run)
        # A third of the lives end early, while files are made and moved; the others anywhere in a whole scan.
        time.sleep(float(random.uniform(0.3, 1.05) * lasts if random.random() < 0.7 else random.uniform(0, 0.3) * lasts))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
            states.add(frozenset(path.name for path in run.iterdir()) if run.is_dir() else frozenset())
            if killed < counts.kills:
                continue
            process = start(*line, "--out", run)
        _, err = process.communicate(timeout=600)
        assert process.returncode == 0, err[-3000:]
        same(audit.open_run(run), whole)
        assert not [path.name for path in run.iterdir() if path.name.startswith("unfinished")]
        finished += 1
        round_ += 1
    tally(
        "kill -9 at random moments, then the same command",
        killed,
        f"{finished} runs finished, all equal to an undisturbed one; died in {len(states)} states",
    )


SCRIPT = """
import os, sys

steps = 0


def step(function):
    def counted(*arguments, **options):
        global steps
        if steps == int(sys.argv[1]):
            os._exit(99)
        steps += 1
        return function(*arguments, **options)

    return counted


for name in ("fsync", "replace", "rename", "unlink", "rmdir", "ftruncate"):
    setattr(os, name, step(getattr(os, name)))
import audit

audit.scan(sys.argv[2], sys.argv[3], options=audit.ScanOptions(backbone="embedded", device="cpu", offline=True))
print(steps)
"""


@pytest.mark.slow
def test_the_last_thing_a_scan_does_may_be_any_of_its_writes(tmp_path, tally, dataset, counts):
    """Each flush, move and removal of a file is a place to die in."""
    data = dataset(per_class=3)
    options = audit.ScanOptions(backbone="embedded", device="cpu", offline=True)

    def scan_until(step: int, run) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-c", SCRIPT, str(step), str(data), str(run)]
        return subprocess.run(line, capture_output=True, text=True, check=False, timeout=300)

    undisturbed = scan_until(-1, tmp_path / "whole")
    steps = int(undisturbed.stdout)
    assert steps > 20, undisturbed.stderr
    whole = audit.open_run(tmp_path / "whole")
    # The count differs by a few from scan to scan: what is compiled once is there the next time.
    places = np.unique(np.linspace(0, steps - 6, 3 + counts.kills // 2).astype(int))
    for place in places:
        run = tmp_path / f"run-{place}"
        done = scan_until(place, run)
        assert done.returncode == 99, done.stderr[-3000:]
        same(audit.scan(data, run, options=options), whole)
        assert not list(run.rglob("*.partial"))
    tally(f"the process ends at one of its {steps} writes, moves and removals", len(places), "each time the next scan equals an undisturbed one")


def command_of(process):
    """Return a process's command line, or None where it has ended."""
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "begun"),
    [([], "unfinished/segments"), (["--faces"], "pairs.parquet"), (["--engine", "ray"], "unfinished/segments")],
    ids=["reading", "faces", "ray"],
)
def test_nothing_outlives_a_scan_that_is_killed_alone(tmp_path, tally, dataset, start, more, begun):
    """As the system does that runs out of memory: it kills one process, not the group that it belongs to."""
    data, run = dataset(per_class=250), tmp_path / "run"
    process = start("scan", data, "--out", run, "--backbone", "embedded", "--offline", "--quiet", "--device", "cpu", *more)
    scan, until = psutil.Process(process.pid), time.monotonic() + 120

    def workers():
        """Return the processes that were forked to read images, and their server."""
        return [child for child in scan.children(recursive=True) if "multiprocessing.forkserver" in (command_of(child) or "")]

    while not (run / begun).exists() or len(workers()) < 2:
        assert process.poll() is None, process.stderr.read()[-2000:]
        assert time.monotonic() < until
        time.sleep(0.05)
    # Ray's own agents ask the head for a minute before they give up.
    left = [child for child in scan.children(recursive=True) if not re.match(r"ray::\w+Agent", command_of(child) or "")]
    process.kill()
    process.wait()
    until = time.monotonic() + 60
    while any(map(command_of, left)) and time.monotonic() < until:
        time.sleep(0.1)
    survivors = {child: command_of(child) for child in left if command_of(child)}
    for child in survivors:
        child.kill()
    assert survivors == {}
    tally(f"kill -9 of the scan's own process alone{', with ' if more else ''}{' '.join(more)}", 1, f"{len(left)} processes ended with it")
