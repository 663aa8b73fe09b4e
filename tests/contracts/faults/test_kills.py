"""A scan killed at random moments and restarted each time has the same result as an undisturbed scan."""

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


@pytest.mark.slow
def test_repeatedly_killed_scan_equals_an_undisturbed_one(tmp_path, counts, tally, dataset, start):
    """Each scan runs for a random time, so that kills hit start-up, listing, reading, publishing, neighbors, predictions and checks."""
    data = dataset(per_class=160 if counts.kills > 10 else 70)
    line = ["scan", data, "--backbone", "embedded-small", "--offline", "--quiet", "--device", "cpu"]
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
        # A third of the kills come early, while files are created and moved; the others anywhere in a scan.
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

audit.scan(sys.argv[2], sys.argv[3], options=audit.ScanOptions(backbone="embedded-small", device="cpu", offline=True))
print(steps)
"""


@pytest.mark.slow
def test_scan_may_die_at_any_write(tmp_path, tally, dataset, counts):
    """The scan dies at each flush, move and removal of a file."""
    data = dataset(per_class=3)
    options = audit.ScanOptions(backbone="embedded-small", device="cpu", offline=True)

    def scan_until(step: int, run) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-c", SCRIPT, str(step), str(data), str(run)]
        return subprocess.run(line, capture_output=True, text=True, check=False, timeout=300)

    undisturbed = scan_until(-1, tmp_path / "whole")
    steps = int(undisturbed.stdout)
    assert steps > 20, undisturbed.stderr
    whole = audit.open_run(tmp_path / "whole")
    # The count varies by a few between scans, because of caches of compiled code.
    positions = np.unique(np.linspace(0, steps - 6, 3 + counts.kills // 2).astype(int))
    for position in positions:
        run = tmp_path / f"run-{position}"
        done = scan_until(position, run)
        assert done.returncode == 99, done.stderr[-3000:]
        same(audit.scan(data, run, options=options), whole)
        assert not list(run.rglob("*.partial"))
    tally(f"the process ends at one of its {steps} writes, moves and removals", len(positions), "each time the next scan equals an undisturbed one")


def command_of(process):
    """Return a process's command line; None if it has ended."""
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "started_file"),
    [([], "unfinished/segments"), (["--faces"], "pairs.parquet"), (["--engine", "ray"], "unfinished/segments")],
    ids=["reading", "faces", "ray"],
)
def test_no_process_outlives_a_killed_scan(tmp_path, tally, dataset, start, flags, started_file):
    """Kill one process, not its group, as the kernel does when memory runs out."""
    data, run = dataset(per_class=250), tmp_path / "run"
    process = start("scan", data, "--out", run, "--backbone", "embedded-small", "--offline", "--quiet", "--device", "cpu", *flags)
    scan, until = psutil.Process(process.pid), time.monotonic() + 120

    def workers():
        """Return the worker processes and their fork server."""
        return [child for child in scan.children(recursive=True) if "multiprocessing.forkserver" in (command_of(child) or "")]

    while not (run / started_file).exists() or len(workers()) < 2:
        assert process.poll() is None, process.stderr.read()[-2000:]
        assert time.monotonic() < until
        time.sleep(0.05)
    # Ray's agents try to reach the head for a minute before they exit.
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
    tally(f"kill -9 of the scan's own process alone{', with ' if flags else ''}{' '.join(flags)}", 1, f"{len(left)} processes ended with it")
