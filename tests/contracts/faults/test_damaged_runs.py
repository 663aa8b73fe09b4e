"""Files of a finished run are lost or damaged: each command ends in a result or one clear line, and a scan makes what is lost again.

So does a scan of a dataset that changed meanwhile, which reads what the last one left for it.
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
    *("embeddings.npy", "thumbnails.npy", "samples.parquet", "predictions.npy", "faces.parquet", "state/faces-of.npy", "state/predicted.npz"),
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
    """A run with all that a run can have, and the dataset it is of."""
    folder = tmp_path_factory.mktemp("finished")
    run, images = folder / "run", folder / "run-images"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prediction_stage, "FROM_ROWS", 1)  # so many images of a demo leave their models for the next scan
        assert invoke(["demo", "--out", str(run), "--backbone", "embedded", "--offline", "--quiet"]) == 0
        assert invoke([str(word) for word in scan(run, images)]) == 0
    # A scan gives previews a share of its time, which may be none; a report makes those it shows.
    assert invoke(["report", str(run), "--out", str(folder / "report.html")]) == 0
    assert invoke(["decisions", str(run), "--sheet", str(folder / "sheet.csv")]) == 0
    pd.read_csv(folder / "sheet.csv", dtype=str).assign(verdict="keep", reviewer="one").to_csv(folder / "sheet.csv", index=False)
    assert invoke(["decisions", str(run), "--import", str(folder / "sheet.csv")]) == 0
    return run, images


@pytest.fixture(scope="module")
def changed(tmp_path_factory, finished):
    """The same dataset less one image, and what a scan finds there: from what the last scan left, and from nothing."""
    folder = tmp_path_factory.mktemp("changed")
    images = shutil.copytree(finished[1], folder / "images")
    (images / SAMPLE).unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prediction_stage, "FROM_ROWS", 1)
        for run in (shutil.copytree(finished[0], folder / "updated"), folder / "anew"):
            assert invoke([str(word) for word in scan(run, images)]) == 0
    return images, facts(folder / "updated"), facts(folder / "anew")


def damage(place: Path, name: str) -> None:
    path = next(iter(sorted(place.iterdir()))) if place.is_dir() else place
    content = DAMAGES[name](path.read_bytes())
    path.unlink()
    if content is not None:
        path.write_bytes(content)


def scan(run: Path, images: Path) -> tuple[object, ...]:
    return "scan", images, "--out", run, "--backbone", "embedded", "--offline", "--quiet", "--faces"


def aloud(arguments: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(word for word in arguments if word != "--quiet")


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
        ("decisions", run),
    ]


def scan_until_done(run: Path, images: Path, command) -> str:
    """Scan; where a file is named as damaged delete it, as one is told to, and scan again. Returns what was said."""
    answer = command(*scan(run, images))
    for _ in range(3):
        if answer.code == 0:
            break
        assert answer.is_clean, answer.err
        told = re.search(r"^error: (.+?): damaged: .*; delete this file and scan again", answer.err, re.MULTILINE)
        assert told, answer.err
        Path(told[1]).unlink()
        answer = command(*scan(run, images))
    assert answer.code == 0, answer.err
    return answer.err


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
        scan_until_done(run, images, command)
        for check, findings in facts(before).items():
            pd.testing.assert_frame_equal(facts(run)[check], findings)
        shutil.rmtree(run)
    tally(f"`{name}` of a run lost, emptied, cut short, replaced by noise", len(DAMAGES), "named in one line, made again, the same findings")


@pytest.mark.slow
@pytest.mark.parametrize("name", LEFT_FOR_THE_NEXT_SCAN)
def test_a_scan_of_a_changed_dataset_does_without_what_is_damaged(tmp_path, monkeypatch, finished, changed, command, tally, name):
    monkeypatch.setattr(prediction_stage, "FROM_ROWS", 1)
    images, updated, anew = changed
    for which in DAMAGES:
        run = shutil.copytree(finished[0], tmp_path / which.replace(" ", "-"))
        damage(run / name, which)
        scan_until_done(run, images, command)
        found = facts(run)
        assert any(all(found[check].equals(findings) for check, findings in expected.items()) for expected in (updated, anew)), which
        shutil.rmtree(run)
    tally(f"`{name}` of a run so damaged, and the dataset changed", len(DAMAGES), "noted or named in one line, made again, the same findings")


@pytest.mark.parametrize("name", ["state/neighbors.npy", "state/neighbors-of.npy", "state/predicted.npz", "state/faces-of.npy"])
def test_what_is_left_out_is_noted(tmp_path, monkeypatch, finished, changed, command, name):
    monkeypatch.setattr(prediction_stage, "FROM_ROWS", 1)
    run = shutil.copytree(finished[0], tmp_path / "run")
    damage(run / name, "empty")
    answer = command(*aloud(scan(run, changed[0])))
    assert answer.code == 0, answer.err
    assert re.search(rf"{name}: damaged: .* anew", " ".join(answer.err.split())), answer.err


@pytest.fixture(scope="module")
def other_pairs(tmp_path_factory, finished):
    """What a scan of the same dataset finds that has the pairs, and what is made of them, to do again."""
    run = shutil.copytree(finished[0], tmp_path_factory.mktemp("other-pairs") / "run")
    assert invoke([str(word) for word in with_other_pairs(run, finished[1])]) == 0
    return facts(run)


def with_other_pairs(run: Path, images: Path) -> tuple[object, ...]:
    return *aloud(scan(run, images)), "--min-precision", "0.9"


def damage_content(path: Path) -> None:
    """Put noise behind the header of an array; its length and time of change stay."""
    content, when = bytearray(path.read_bytes()), path.stat()
    content[200:4200] = np.random.default_rng(0).bytes(len(content[200:4200]))
    path.write_bytes(content)
    os.utime(path, ns=(when.st_atime_ns, when.st_mtime_ns))


@pytest.mark.parametrize("name", ["embeddings.npy", "thumbnails.npy", "neighbors.npy", "similarities.npy", "state/unlike.npy"])
def test_damaged_content_is_noted_and_made_anew_where_a_stage_works_on_it(tmp_path, finished, other_pairs, command, name):
    run = shutil.copytree(finished[0], tmp_path / "run")
    damage_content(run / name)
    answer = command(*with_other_pairs(run, finished[1]))
    assert answer.code == 0, answer.err
    assert f"{name}: damaged: its content is not what was written; it is made anew" in " ".join(answer.err.split())
    for check, findings in other_pairs.items():
        pd.testing.assert_frame_equal(facts(run)[check], findings)


@pytest.mark.parametrize("name", ["predictions.npy", "state/neighbors.npy", "state/faces-of.npy"])
def test_damaged_content_is_not_taken_over_into_the_run_of_a_changed_dataset(tmp_path, monkeypatch, finished, changed, command, name):
    monkeypatch.setattr(prediction_stage, "FROM_ROWS", 1)
    images, updated, anew = changed
    run = shutil.copytree(finished[0], tmp_path / "run")
    damage_content(run / name)
    answer = command(*aloud(scan(run, images)))
    assert answer.code == 0, answer.err
    assert f"{name}: damaged: its content is not what was written" in " ".join(answer.err.split())
    found = facts(run)
    assert any(all(found[check].equals(findings) for check, findings in expected.items()) for expected in (updated, anew))


@pytest.mark.parametrize("name", ["similarities.npy", "scores/leakage.npy", "findings/leakage.parquet"])
def test_a_file_that_somebody_wrote_into_is_made_anew_where_nothing_else_is_to_do(tmp_path, finished, command, name):
    run = shutil.copytree(finished[0], tmp_path / "run")
    written = (run / name).read_bytes()
    damage_content(run / name)
    (run / name).touch()
    answer = command(*aloud(scan(run, finished[1])))
    assert answer.code == 0, answer.err
    assert f"{name}: damaged: " in " ".join(answer.err.split())
    assert (run / name).read_bytes() == written


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


def test_a_record_of_another_structure_is_read_or_refused(tmp_path, finished, command, counts, tally, restructure):
    """By the commands that read a run and by a scan, which goes on with what the last one did."""
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
    tally("`run.json` of which a value is lost or of another type", times * len(commands), f"{refused} refused in one line, the others read")


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("stages",), None, "stages is no object"),
        (("stages", "ingest"), 5, "stages.ingest is no object"),
        (("source",), None, "source is no object"),
        (("checks", "integrity"), "x", "checks.integrity is no object"),
        (("source", "kind"), None, "source.kind is no text"),
        (("options", "checks"), None, "options.checks is no object"),
        (("counts", "listed"), -1, "counts.listed is below 0"),
        (("finished_at",), "x", "finished_at is no time"),
        (("files", "neighbors.npy"), {}, "files.neighbors.npy.bytes is no number"),
    ],
)
def test_what_is_wrong_with_a_record_is_named_by_scans_and_readers(tmp_path, finished, command, place, value, said):
    run = shutil.copytree(finished[0], tmp_path / "run")
    record = json.loads((run / "run.json").read_bytes())
    holder = record
    for name in place[:-1]:
        holder = holder[name]
    holder[place[-1]] = value
    (run / "run.json").write_text(json.dumps(record))
    for arguments in (("report", run, "--out", tmp_path / "report.html"), ("diff", run, run), scan(run, finished[1])):
        answer = command(*arguments)
        assert (answer.code, answer.is_clean) == (2, True), answer.err
        assert f"run.json: damaged: {said}; delete this file and scan again" in " ".join(answer.err.split())
