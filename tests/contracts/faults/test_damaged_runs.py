"""Lost or corrupt files of a finished run: every command succeeds or prints a one-line error, and a scan recreates the files.

The same holds for a scan of a changed dataset, which reuses files of the previous scan.
"""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from audit.cli import invoke
from audit.pipeline import predictions as prediction_stage

LEFT_FOR_THE_NEXT_SCAN = (
    *(
        "embeddings.npy",
        "thumbnails.npy",
        "features.npy",
        "samples.parquet",
        "predictions.npy",
        "faces.parquet",
        "state/faces-of.npy",
        "state/predicted.npz",
    ),
    *("state/predictor.npz", "state/neighbors.npy", "state/neighbors-of.npy", "state/similarities.npy", "state/unlike.npy", "state/verified.npz"),
)
FILES = (
    *("run.json", "ingest.json", "neighbors.npy", "similarities.npy", "pairs.parquet", "label_quality.parquet", "findings/leakage.parquet"),
    *("scores/leakage.npy", "previews", "decisions.jsonl"),
    *LEFT_FOR_THE_NEXT_SCAN,
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
    """A run with every kind of file, and its dataset."""
    folder = tmp_path_factory.mktemp("finished")
    run, images = folder / "run", folder / "run-images"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prediction_stage, "FROM_ROWS", 1)  # the demo has fewer images than usually make a scan store its models
        assert invoke(["demo", "--out", str(run), "--backbone", "embedded-small", "--offline", "--quiet"]) == 0
        assert invoke([str(word) for word in scan(run, images)]) == 0
    # A scan may have no time for previews; a report creates those that it shows.
    assert invoke(["report", str(run), "--out", str(folder / "report.html")]) == 0
    assert invoke(["decisions", str(run), "--sheet", str(folder / "sheet.csv")]) == 0
    pd.read_csv(folder / "sheet.csv", dtype=str).assign(verdict="keep", reviewer="one").to_csv(folder / "sheet.csv", index=False)
    assert invoke(["decisions", str(run), "--import", str(folder / "sheet.csv")]) == 0
    return run, images


@pytest.fixture(scope="module")
def changed(tmp_path_factory, finished):
    """The same dataset without one image, and the findings of an incremental and of a new scan."""
    folder = tmp_path_factory.mktemp("changed")
    images = shutil.copytree(finished[1], folder / "images")
    (images / SAMPLE).unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prediction_stage, "FROM_ROWS", 1)
        for run in (shutil.copytree(finished[0], folder / "updated"), folder / "new"):
            assert invoke([str(word) for word in scan(run, images)]) == 0
    return images, facts(folder / "updated"), facts(folder / "new")


def damage(target: Path, name: str) -> None:
    path = next(iter(sorted(target.iterdir()))) if target.is_dir() else target
    content = DAMAGES[name](path.read_bytes())
    path.unlink()
    if content is not None:
        path.write_bytes(content)


def scan(run: Path, images: Path) -> tuple[object, ...]:
    return "scan", images, "--out", run, "--backbone", "embedded-small", "--offline", "--quiet", "--faces"


def without_quiet(arguments: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(word for word in arguments if word != "--quiet")


def facts(run: Path) -> dict[str, pd.DataFrame]:
    return {path.name: pd.read_parquet(path) for path in sorted((run / "findings").iterdir())}


def assert_same(found: dict[str, pd.DataFrame], expected: dict[str, pd.DataFrame]) -> None:
    for check, findings in expected.items():
        pd.testing.assert_frame_equal(found[check], findings)


def readers(run: Path, out: Path) -> list[tuple[object, ...]]:
    return [
        ("explain", run, SAMPLE),
        ("report", run, "--out", out / "report.html"),
        ("report", run, "--out", out / "report.json"),
        ("export", run, "--what", "drop-list", "--out", out / "drop.csv"),
        ("diff", run, run),
        ("lock", run, "--out", out / "data.lock"),
        ("verify", run, "--dataset", "cifar-10"),
        ("decisions", run),
    ]


def scan_until_done(run: Path, images: Path, command) -> str:
    """Scan; if a file is reported as corrupt, delete it as the hint says and scan again. Return the output."""
    answer = command(*scan(run, images))
    for _ in range(3):
        if answer.code == 0:
            break
        assert answer.is_clean, answer.err
        reported = re.search(r"^error: (.+?): corrupt: .*; delete this file and scan again", answer.err, re.MULTILINE)
        assert reported, answer.err
        Path(reported[1]).unlink()
        answer = command(*scan(run, images))
    assert answer.code == 0, answer.err
    return answer.err


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_corrupt_file_is_reported_and_recreated(tmp_path, finished, command, tally, name):
    before, images = finished
    whole = facts(before)
    for which in DAMAGES:
        run = tmp_path / which.replace(" ", "-")
        shutil.copytree(before, run)
        damage(run / name, which)
        for arguments in readers(run, tmp_path):
            answer = command(*arguments)
            assert answer.is_clean, (which, arguments, answer.err)
        scan_until_done(run, images, command)
        assert_same(facts(run), whole)
        shutil.rmtree(run)
    tally(f"`{name}` of a run lost, emptied, cut short, replaced by noise", len(DAMAGES), "named in one line, made again, the same findings")


@pytest.mark.slow
@pytest.mark.parametrize("name", LEFT_FOR_THE_NEXT_SCAN)
def test_scan_of_a_changed_dataset_ignores_corrupt_file(tmp_path, monkeypatch, finished, changed, command, tally, name):
    monkeypatch.setattr(prediction_stage, "FROM_ROWS", 1)
    images, updated, new = changed
    for which in DAMAGES:
        run = shutil.copytree(finished[0], tmp_path / which.replace(" ", "-"))
        damage(run / name, which)
        scan_until_done(run, images, command)
        found = facts(run)
        assert any(all(found[check].equals(findings) for check, findings in expected.items()) for expected in (updated, new)), which
        shutil.rmtree(run)
    tally(f"`{name}` of a run so damaged, and the dataset changed", len(DAMAGES), "noted or named in one line, made again, the same findings")


@pytest.mark.parametrize("name", ["state/neighbors.npy", "state/neighbors-of.npy", "state/predicted.npz", "state/faces-of.npy"])
def test_ignored_file_is_noted(tmp_path, monkeypatch, finished, changed, command, name):
    monkeypatch.setattr(prediction_stage, "FROM_ROWS", 1)
    run = shutil.copytree(finished[0], tmp_path / "run")
    damage(run / name, "empty")
    answer = command(*without_quiet(scan(run, changed[0])))
    assert answer.code == 0, answer.err
    assert re.search(rf"{name}: corrupt: .*(again|recomputing it)", " ".join(answer.err.split())), answer.err


@pytest.fixture(scope="module")
def other_pairs(tmp_path_factory, finished):
    """Findings of a scan of the same dataset that recomputes the pairs and everything that depends on them."""
    run = shutil.copytree(finished[0], tmp_path_factory.mktemp("other-pairs") / "run")
    assert invoke([str(word) for word in with_other_pairs(run, finished[1])]) == 0
    return facts(run)


def with_other_pairs(run: Path, images: Path) -> tuple[object, ...]:
    return *without_quiet(scan(run, images)), "--min-precision", "0.9"


def damage_content(path: Path) -> None:
    """Write noise after the header of an array, keeping its length and modification time."""
    content, when = bytearray(path.read_bytes()), path.stat()
    content[200:4200] = np.random.default_rng(0).bytes(len(content[200:4200]))
    path.write_bytes(content)
    os.utime(path, ns=(when.st_atime_ns, when.st_mtime_ns))


@pytest.mark.parametrize("name", ["embeddings.npy", "thumbnails.npy", "features.npy", "neighbors.npy", "similarities.npy", "state/unlike.npy"])
def test_corrupt_content_is_noted_and_recreated_before_use(tmp_path, finished, other_pairs, command, name):
    run = shutil.copytree(finished[0], tmp_path / "run")
    damage_content(run / name)
    answer = command(*with_other_pairs(run, finished[1]))
    assert answer.code == 0, answer.err
    assert f"{name}: corrupt: content differs from what was written; recomputing it" in " ".join(answer.err.split())
    assert_same(facts(run), other_pairs)


@pytest.mark.parametrize("name", ["predictions.npy", "state/neighbors.npy", "state/faces-of.npy"])
def test_corrupt_content_is_not_reused_for_a_changed_dataset(tmp_path, monkeypatch, finished, changed, command, name):
    monkeypatch.setattr(prediction_stage, "FROM_ROWS", 1)
    images, updated, new = changed
    run = shutil.copytree(finished[0], tmp_path / "run")
    damage_content(run / name)
    answer = command(*without_quiet(scan(run, images)))
    assert answer.code == 0, answer.err
    assert f"{name}: corrupt: content differs from what was written" in " ".join(answer.err.split())
    found = facts(run)
    assert any(all(found[check].equals(findings) for check, findings in expected.items()) for expected in (updated, new))


@pytest.mark.parametrize("name", ["similarities.npy", "scores/leakage.npy", "findings/leakage.parquet"])
def test_modified_file_is_recreated_by_a_scan_without_other_work(tmp_path, finished, command, name):
    run = shutil.copytree(finished[0], tmp_path / "run")
    written = (run / name).read_bytes()
    damage_content(run / name)
    (run / name).touch()
    answer = command(*without_quiet(scan(run, finished[1])))
    assert answer.code == 0, answer.err
    assert f"{name}: corrupt: " in " ".join(answer.err.split())
    assert (run / name).read_bytes() == written


def test_scan_refuses_folder_with_other_files(tmp_path, finished, command):
    _, images = finished
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("words")
    answer = command("scan", images, "--out", other, "--backbone", "embedded-small", "--offline")
    assert (answer.code, answer.is_clean) == (2, True)
    assert "holds no run" in answer.err
    assert [path.name for path in other.iterdir() if not path.name.startswith(".")] == ["thesis.txt"]


def test_neighbor_out_of_range_is_corrupt(tmp_path, finished, command):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    neighbors = np.load(run / "neighbors.npy")
    neighbors[:] = 10_000
    np.save(run / "neighbors.npy", neighbors)
    answer = command("explain", run, SAMPLE)
    assert answer.is_clean
    assert "neighbors.npy: corrupt: " in answer.err


@pytest.mark.parametrize("kind", ["run.json", "policy", "decisions", "lock"])
def test_mutated_text_files_are_read_or_refused(tmp_path, finished, command, counts, tally, mutate, kind):
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


def test_restructured_record_is_read_or_refused(tmp_path, finished, command, counts, tally, restructure):
    """Both by the commands that read a run and by a scan that continues it."""
    run = shutil.copytree(finished[0], tmp_path / "run")
    record = json.loads((run / "run.json").read_bytes())
    random = np.random.default_rng([counts.seed, 12])
    commands = [*(arguments for arguments in readers(run, tmp_path) if arguments[0] in ("explain", "report", "diff")), scan(run, finished[1])]
    times, refused = max(counts.mutations // 25, 1), 0
    for _ in range(times):
        damaged = restructure(record, random)
        for arguments in commands:
            (run / "run.json").write_text(json.dumps(damaged))
            answer = command(*arguments)
            assert answer.is_clean or answer.code == 1, (arguments, damaged, answer.err)
            refused += answer.code == 2
    tally("`run.json` with a missing value or one of another type", times * len(commands), f"{refused} refused in one line, the others read")


@pytest.mark.parametrize(
    ("keys", "value", "problem"),
    [
        (("stages",), None, "stages is not an object"),
        (("stages", "ingest"), 5, "stages.ingest is not an object"),
        (("source",), None, "source is not an object"),
        (("checks", "integrity"), "x", "checks.integrity is not an object"),
        (("source", "kind"), None, "source.kind is not a string"),
        (("options", "checks"), None, "options.checks is not an object"),
        (("counts", "listed"), -1, "counts.listed is negative"),
        (("finished_at",), "x", "finished_at is not a time"),
        (("files", "neighbors.npy"), {}, "files.neighbors.npy.bytes is not a number"),
    ],
)
def test_scans_and_readers_report_invalid_record(tmp_path, finished, command, keys, value, problem):
    run = shutil.copytree(finished[0], tmp_path / "run")
    record = json.loads((run / "run.json").read_bytes())
    holder = record
    for name in keys[:-1]:
        holder = holder[name]
    holder[keys[-1]] = value
    (run / "run.json").write_text(json.dumps(record))
    for arguments in (("report", run, "--out", tmp_path / "report.html"), ("diff", run, run), scan(run, finished[1])):
        answer = command(*arguments)
        assert (answer.code, answer.is_clean) == (2, True), answer.err
        assert f"run.json: corrupt: {problem}; delete this file and scan again" in " ".join(answer.err.split())
