"""The finished version of a run stays readable while a scan updates it, and after that scan was killed."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import audit
from audit import ScanOptions
from audit.cli import invoke
from audit.errors import RunError
from audit.pipeline import checks
from audit.run import previous
from dashboard.state import open_finished

OPTIONS = ScanOptions(backbone="embedded-small", device="cpu", offline=True)

DIES = """
import os, signal, sys
from audit.pipeline import {module}
import audit

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

{module}.{name} = die
audit.scan(sys.argv[1], sys.argv[2], options=audit.ScanOptions(backbone="embedded-small", device="cpu", offline=True))
"""


def photo(seed):
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return Image.fromarray(coarse).resize((64, 56), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """A scanned dataset, which has changed since: two images were added, one of them a leak, and one was removed."""
    folder = tmp_path_factory.mktemp("previous")
    for split in ("train", "val"):
        for label in ("ant", "bee"):
            (folder / "data" / split / label).mkdir(parents=True)
            for number in range(6):
                photo(1000 * (split == "val") + 100 * (label == "bee") + number).save(folder / "data" / split / label / f"{number}.png")
    shutil.copy(folder / "data/train/ant/0.png", folder / "data/val/ant/leak.png")
    audit.scan(folder / "data", folder / "run", options=OPTIONS)
    photo(9000).save(folder / "data/train/ant/new.png")
    shutil.copy(folder / "data/train/bee/1.png", folder / "data/val/bee/leak.png")
    (folder / "data/train/bee/5.png").unlink()
    return folder


@pytest.fixture
def changed(scanned, tmp_path):
    shutil.copytree(scanned / "run", tmp_path / "run")
    return scanned / "data", tmp_path / "run"


def content(run):
    opened = audit.open_run(run)
    return opened.samples, opened.findings, np.array(opened.embeddings), np.array(opened.scores("leakage"))


def assert_same(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        if isinstance(one, pd.DataFrame):
            pd.testing.assert_frame_equal(one, other)
        else:
            np.testing.assert_array_equal(one, other)


MOMENTS = [("neighbors", "Neighbors.run"), ("predictions", "Predictions.run"), ("checks", "write_table"), ("checks", "_run")]


@pytest.mark.parametrize(("module", "name"), MOMENTS)
def test_killed_scan_leaves_the_finished_version_readable(changed, tmp_path, module, name):
    data, run = changed
    before = content(run)
    killed = subprocess.run([sys.executable, "-c", DIES.format(module=module, name=name), data, run], capture_output=True, check=False, timeout=300)
    assert killed.returncode == -9, killed.stderr[-2000:]
    assert json.loads((run / "run.json").read_text())["finished"] is False
    assert_same(content(run), before)
    policy = tmp_path / "policy.toml"
    policy.write_text("[limits]\nleakage = 1\n")
    assert invoke(["report", str(run)]) == 0
    assert invoke(["check", str(run), "--policy", str(policy)]) == 0
    assert invoke(["diff", str(run), str(run)]) == 0
    assert len(open_finished(str(run)).findings) == len(before[1])
    audit.scan(data, run, options=OPTIONS)
    assert not (run / previous.FOLDER).exists()
    fresh = content_of_a_new_run(data, tmp_path)
    assert_same(without_label_reports(content(run)), without_label_reports(fresh))


def without_label_reports(found):
    """Reports on unchanged images depend on the run's history (`audit.labels.hysteresis`)."""
    samples, findings, *arrays = found
    return samples, findings[findings["check"] != "label_errors"].reset_index(drop=True), *arrays


def content_of_a_new_run(data, tmp_path):
    audit.scan(data, tmp_path / "fresh", options=OPTIONS)
    return content(tmp_path / "fresh")


def test_running_scan_leaves_the_finished_version_readable(changed, monkeypatch):
    data, run = changed
    before, seen = content(run), []
    real = checks._run

    def watched(*arguments):
        found = real(*arguments)
        seen.append(content(run))
        assert len(open_finished(str(run)).findings) == len(before[1])
        return found

    monkeypatch.setattr(checks, "_run", watched)
    audit.scan(data, run, options=OPTIONS)
    assert len(seen) > 5
    for one in seen:
        assert_same(one, before)
    assert len(audit.open_run(run).samples) == len(before[0]) + 1


def test_first_scan_has_no_version_to_show(tmp_path, scanned):
    killed = [sys.executable, "-c", DIES.format(module="checks", name="_run"), scanned / "data", tmp_path / "run"]
    subprocess.run(killed, capture_output=True, check=False, timeout=300)
    with pytest.raises(RunError, match="not finished"):
        audit.open_run(tmp_path / "run")


def test_file_systems_without_hard_links(changed, monkeypatch):
    def refused(*_):
        raise PermissionError

    monkeypatch.setattr(previous.os, "link", refused)
    _, run = changed
    before = content(run)
    assert previous.keep(run)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "finished": False}))
    (run / "samples.parquet").unlink()
    assert_same(content(run), before)
    assert not previous.keep(run), "the version before an interrupted scan stays"
    assert_same(content(run), before)
