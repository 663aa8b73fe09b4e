"""A run mixed with a dataset is refused; a run with its own files is not."""

import shutil

import pytest
from PIL import Image

from audit import cli


@pytest.fixture
def asked(small_run, tmp_path):
    (tmp_path / "policy.toml").write_text("[limits]\ntotal = 100\n")
    assert cli.invoke(["lock", str(small_run.path), "--out", str(tmp_path / "audit.lock")]) == 0
    return lambda path: (
        ["check", str(path), "--policy", str(tmp_path / "policy.toml")],
        ["lock", str(path), "--check", "--out", str(tmp_path / "audit.lock")],
    )


@pytest.mark.parametrize("name", ["train/cat/1.jpg", "previews/cat.jpg", "shard-0.tar", "data/train.parquet", "train.npz", "train_x.h5"])
def test_refuses_a_run_with_foreign_images(small_run, tmp_path, capsys, asked, name):
    data = tmp_path / "data"
    shutil.copytree(small_run.path, data)
    assert [cli.invoke(words) for words in asked(data)] == [0, 0]
    (data / name).parent.mkdir(parents=True, exist_ok=True)
    (data / name).write_bytes(b"other images")
    capsys.readouterr()
    for words in asked(data):
        assert cli.invoke(words) == 2
        assert f"data: contains run.json, like a run, and {name}, which is not part of a run; remove run.json" in capsys.readouterr().err


def test_refuses_a_run_with_links(small_run, capsys, asked):
    (small_run.path / "circle").symlink_to(small_run.path)
    for words in asked(small_run.path):
        assert cli.invoke(words) == 2
        assert "circle: is a link, which a run never contains" in capsys.readouterr().err


def test_accepts_reports_decisions_and_previews_in_a_run(small_run, asked):
    (small_run.path / "previews").mkdir()
    Image.new("RGB", (9, 9)).save(small_run.path / "previews" / f"{'0a' * 32}.jpg")
    for name in ("report.html", "report.csv", "decisions.jsonl", "review.csv", ".lock", "faces.parquet"):
        (small_run.path / name).write_text("")
    for name in ("state/backbone-2/samples.parquet", "state/predicted.npz", "previous/findings/leakage.parquet", "unfinished/listing.parquet"):
        (small_run.path / name).parent.mkdir(parents=True, exist_ok=True)
        (small_run.path / name).write_text("")
    assert [cli.invoke(words) for words in asked(small_run.path)] == [0, 0]
