"""The same data and version give the same bytes, independent of location, storage and number of workers."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pandas as pd
import pytest

from audit import cli

ROOT = Path(__file__).resolve().parents[2]
FILES = ("findings/*.parquet", "scores/*.npy", "predictions.npy", "embeddings.npy", "pairs.parquet", "label_quality.parquet")

pytestmark = pytest.mark.slow


def scan(source, out, *, hash_seed, workers, where):
    """Scan in a new process and folder."""
    where.mkdir()
    as_usual = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    environment = as_usual | {"PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(ROOT)}
    command = [
        Path(sys.executable).parent / "imagenet-audit",
        "scan",
        source,
        "--out",
        out,
        "--backbone",
        "embedded",
        "--offline",
        "--quiet",
        "--workers",
        workers,
    ]
    done = subprocess.run([*map(str, command)], cwd=where, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("determinism")
    assert cli.invoke(["demo", "--out", str(folder / "demo"), "--backbone", "embedded", "--offline", "--quiet"]) == 0
    return folder / "demo-images", scan(folder / "demo-images", folder / "first", hash_seed=1, workers=1, where=folder / "a")


def test_hash_seed_workers_and_location_change_no_byte(first, tmp_path):
    images, before = first
    after = scan(images, tmp_path / "elsewhere" / "run", hash_seed=2, workers=2, where=tmp_path / "b")
    for pattern in FILES:
        files = sorted(path.relative_to(before) for path in before.glob(pattern))
        assert files
        for name in files:
            assert (before / name).read_bytes() == (after / name).read_bytes(), name


def test_tar_has_the_findings_of_its_folder(first, tmp_path):
    images, before = first
    with tarfile.open(tmp_path / "images.tar", "w") as archive:
        for path in sorted(images.rglob("*"), reverse=True):  # a tar has another order
            archive.add(path, path.relative_to(images), recursive=False)
    after = scan(tmp_path / "images.tar", tmp_path / "run", hash_seed=3, workers=2, where=tmp_path / "c")
    for path in sorted((before / "findings").iterdir()):
        pd.testing.assert_frame_equal(pd.read_parquet(after / "findings" / path.name), pd.read_parquet(path))
