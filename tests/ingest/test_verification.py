"""A file that is replaced without a change of its size and modification time is noticed by `check`."""

import os
import shutil

import pytest
from PIL import Image

import audit
from audit.cli import invoke
from audit.config import ScanOptions
from audit.gate.lock import pin

OPTIONS = {"backbone": "embedded", "device": "cpu", "only": ("leakage", "integrity")}


@pytest.fixture
def data(tmp_path):
    for number, name in enumerate(("train/cat/a", "train/cat/b", "train/dog/c", "val/cat/d", "val/dog/e")):
        path = tmp_path / "data" / f"{name}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((48, 40), 40 + 9 * number).convert("RGB").save(path)
    return tmp_path / "data"


def leak(data):
    """Put a train image into val, with the old file's size and times."""
    target = data / "val" / "cat" / "d.bmp"
    before = target.stat()
    shutil.copyfile(data / "train" / "cat" / "a.bmp", target)
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (target.stat().st_size, target.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_check_finds_a_leak_that_kept_size_and_time(data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    policy, run = tmp_path / "policy.toml", tmp_path / "run"
    policy.write_text("[limits]\nleakage = 0\n")
    words = ["check", str(data), "--policy", str(policy), "--out", str(run), "--backbone", "embedded", "--device", "cpu"]
    assert invoke([*words, "--quiet"]) == 0
    accepted = tmp_path / "audit.lock"
    accepted.write_text(pin(audit.open_run(run).columns("sample_id", "content_id", "split", "label", "labels")))
    leak(data)
    assert invoke([*words, "--quiet", "--trust-mtime"]) == 0
    (tmp_path / "audit.toml").write_text("trust_mtime = true\n")
    assert invoke([*words, "--since", str(accepted)]) == 1
    captured = capsys.readouterr()
    assert "1 file changed without a change of size and modification time; read again" in captured.err
    assert "val/cat/d.bmp" in captured.out
    assert invoke([*words, "--quiet"]) == 1


def test_unchanged_dataset_is_not_measured_again(data, tmp_path):
    audit.scan(data, tmp_path / "run", options=ScanOptions(**OPTIONS))
    again = audit.scan(data, tmp_path / "run", options=ScanOptions(**OPTIONS, trust_mtime=False))
    assert again.record["stages"]["ingest"]["decoded"] == 5, "the first scan's"
    before = (tmp_path / "run" / "samples.parquet").stat().st_mtime_ns
    audit.scan(data, tmp_path / "run", options=ScanOptions(**OPTIONS, trust_mtime=False))
    assert (tmp_path / "run" / "samples.parquet").stat().st_mtime_ns == before
