"""Files of a finished run are lost or damaged: each command ends in a result or one clear line, and a scan makes what is lost again."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from audit.cli import invoke

FILES = (
    *("run.json", "ingest.json", "samples.parquet", "embeddings.npy", "thumbnails.npy", "neighbors.npy", "similarities.npy", "pairs.parquet"),
    *("predictions.npy", "label_quality.parquet", "findings/leakage.parquet", "scores/leakage.npy"),
    *("state/neighbors.npy", "state/neighbors-of.npy", "state/similarities.npy", "state/unlike.npy", "state/verified.npz", "previews"),
)

SAMPLE = "train/cat/cat-06.jpg"

DAMAGES = {
    "lost": lambda content: None,
    "empty": lambda content: b"",
    "cut short": lambda content: content[: len(content) // 2],
    "garbage": lambda content: np.random.default_rng(0).bytes(len(content)),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run, the dataset it is of, and the files of the run."""
    folder = tmp_path_factory.mktemp("finished")
    assert invoke(["demo", "--out", str(folder / "run"), "--backbone", "embedded", "--offline", "--quiet"]) == 0
    # A scan gives previews a share of its time, which may be none; a report makes those it shows.
    assert invoke(["report", str(folder / "run"), "--out", str(folder / "report.html")]) == 0
    return folder / "run", folder / "run-images"


def damage(place: Path, name: str) -> None:
    path = next(iter(sorted(place.iterdir()))) if place.is_dir() else place
    content = DAMAGES[name](path.read_bytes())
    path.unlink()
    if content is not None:
        path.write_bytes(content)


def facts(run: Path) -> dict[str, pd.DataFrame]:
    return {path.name: pd.read_parquet(path) for path in sorted((run / "findings").iterdir())}


def readers(run: Path, out: Path) -> list[tuple[object, ...]]:
    return [
        ("explain", run, SAMPLE),
        ("report", run, "--out", out / "report.html"),
        ("report", run, "--out", out / "report.json"),
        ("export", run, "--what", "drop-list", "--out", out / "drop.csv"),
        ("diff", run, run),
        ("lock", run, "--out", out / "data.lock"),
        ("verify", run, "--dataset", "cifar-10"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named_and_made_again(tmp_path, finished, command, tally, name):
    before, images = finished
    for which in DAMAGES:
        run = tmp_path / which.replace(" ", "-")
        shutil.copytree(before, run)
        damage(run / name, which)
        for arguments in readers(run, tmp_path):
            answer = command(*arguments)
            assert answer.is_clean, (which, arguments, answer.err)
        scan = ("scan", images, "--out", run, "--backbone", "embedded", "--offline", "--quiet")
        answer = command(*scan)
        for _ in range(3):
            if answer.code == 0:
                break
            assert answer.is_clean, (which, answer.err)
            told = re.search(r"^error: (.+?): damaged: .*; delete this file and scan again", answer.err, re.MULTILINE)
            assert told, (which, answer.err)
            Path(told[1]).unlink()
            answer = command(*scan)
        assert answer.code == 0, (which, answer.err)
        for check, findings in facts(before).items():
            pd.testing.assert_frame_equal(facts(run)[check], findings)
        shutil.rmtree(run)
    tally(f"`{name}` of a run lost, emptied, cut short, replaced by noise", len(DAMAGES), "named in one line, made again, the same findings")


def test_a_scan_tells_a_damaged_run_from_a_folder_of_other_things(tmp_path, finished, command):
    _, images = finished
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("words")
    answer = command("scan", images, "--out", other, "--backbone", "embedded", "--offline")
    assert (answer.code, answer.is_clean) == (2, True)
    assert "holds no run" in answer.err
    assert [path.name for path in other.iterdir() if not path.name.startswith(".")] == ["thesis.txt"]


def test_a_neighbor_that_is_no_row_is_damage(tmp_path, finished, command):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    neighbors = np.load(run / "neighbors.npy")
    neighbors[:] = 10_000
    np.save(run / "neighbors.npy", neighbors)
    answer = command("explain", run, SAMPLE)
    assert answer.is_clean
    assert "neighbors.npy: damaged: " in answer.err


@pytest.mark.parametrize("kind", ["run.json", "policy", "decisions", "lock"])
def test_damaged_text_files_are_read_or_refused(tmp_path, finished, command, counts, tally, mutate, kind):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    random = np.random.default_rng([counts.seed, 11])
    policy = tmp_path / "policy.toml"
    assert command("init", policy).code == 0
    assert command("lock", run, "--out", tmp_path / "data.lock").code == 0
    whole = {
        "run.json": (run / "run.json", ("report", run, "--out", tmp_path / "report.json")),
        "policy": (policy, ("check", run, "--policy", policy)),
        "decisions": (tmp_path / "decisions.csv", ("decisions", run, "--import", tmp_path / "decisions.csv")),
        "lock": (tmp_path / "data.lock", ("check", run, "--policy", policy, "--since", tmp_path / "data.lock")),
    }
    assert command("decisions", run, "--sheet", tmp_path / "decisions.csv").code == 0
    sheet = pd.read_csv(tmp_path / "decisions.csv", dtype=str)
    sheet.assign(verdict="keep").to_csv(tmp_path / "decisions.csv", index=False)
    path, arguments = whole[kind]
    content = path.read_bytes()
    times = max(counts.mutations // 10, 1)
    refused = 0
    for _ in range(times):
        path.write_bytes(mutate(content, random))
        answer = command(*arguments)
        assert answer.is_clean or answer.code == 1, (path.read_bytes(), answer.err)
        refused += answer.code == 2
    tally(f"damaged {kind}", times, f"{refused} refused in one line, the others read")
