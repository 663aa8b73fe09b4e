"""Whole scans: resumed, repeated, changed, refused."""

import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import audit
from audit import ScanOptions, cli
from audit.errors import ConfigError, RunError, SourceError

OPTIONS = ScanOptions(backbone="embedded", device="cpu")


def photo(seed: int, size: tuple[int, int] = (72, 60)) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def dataset(folder: Path, per_class: int = 12) -> Path:
    for split, offset in (("train", 0), ("val", 5000)):
        for label in ("ant", "bee"):
            for number in range(per_class):
                path = folder / split / label / f"{number:04}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                photo(offset + number + 1000 * (label == "bee")).save(path)
    shutil.copyfile(folder / "train/ant/0000.png", folder / "train/bee/stolen.png")
    shutil.copyfile(folder / "train/ant/0001.png", folder / "val/ant/leaked.png")
    (folder / "train/ant/broken.jpg").write_bytes(b"not an image")
    (folder / "train/ant/empty.jpg").touch()
    return folder


def facts(run: audit.Run) -> pd.DataFrame:
    return run.findings.sort_values("finding_id").reset_index(drop=True)


def test_finds_planted_problems_and_accounts_for_every_image(tmp_path):
    run = audit.scan(dataset(tmp_path / "data"), tmp_path / "run", options=OPTIONS)
    counts = run.record["counts"]
    assert counts["listed"] == 52 == len(run.samples)
    assert counts["listed"] == counts["scanned"] + counts["failed"] == sum(counts["outcomes"].values())
    assert counts["outcomes"]["unreadable"] == counts["outcomes"]["empty"] == 1
    found = set(zip(run.findings["check"], run.findings["sample_id"], strict=True))
    assert ("conflicting_labels", "train/bee/stolen.png") in found
    assert ("integrity", "train/ant/broken.jpg") in found
    assert "leakage" in set(run.findings["check"])
    assert np.isnan(run.embeddings[(run.samples["outcome"] != "ok").to_numpy()]).all()
    for check, state in run.record["checks"].items():
        if state["state"] == "done":
            assert len(run.scores(check)) == 52


def test_does_not_write_to_the_dataset(tmp_path):
    data = dataset(tmp_path / "data")
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in data.rglob("*")}
    audit.scan(data, tmp_path / "run", options=OPTIONS)
    assert before == {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in data.rglob("*")}


def test_second_scan_computes_nothing(tmp_path):
    data = dataset(tmp_path / "data")
    audit.scan(data, tmp_path / "run", options=OPTIONS)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.name != "run.json" and path.is_file()}
    first = json.loads((tmp_path / "run/run.json").read_text())
    audit.scan(data, tmp_path / "run", options=OPTIONS)
    second = json.loads((tmp_path / "run/run.json").read_text())
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert first == second


def test_finished_at_is_of_the_last_scan_that_computed_anything(tmp_path):
    data, record = dataset(tmp_path / "data"), tmp_path / "run/run.json"
    audit.scan(data, record.parent, options=OPTIONS)
    assert datetime.fromisoformat(json.loads(record.read_text())["finished_at"]).tzinfo == UTC
    long_ago = "2020-01-31T12:00:00+00:00"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"finished_at": long_ago}))
    assert audit.scan(data, record.parent, options=OPTIONS).record["finished_at"] == long_ago
    photo(77).save(data / "train/ant/0003.png")
    assert audit.scan(data, record.parent, options=OPTIONS).record["finished_at"] > long_ago


def test_rescan_of_a_changed_dataset_equals_a_fresh_scan(tmp_path):
    data = dataset(tmp_path / "data")
    audit.scan(data, tmp_path / "run", options=OPTIONS)
    photo(77).save(data / "train/ant/0003.png")
    photo(78).save(data / "val/bee/new.png")
    (data / "train/bee/0004.png").unlink()
    (data / "train/bee/0005.png").rename(data / "train/ant/moved.png")
    updated = audit.scan(data, tmp_path / "run", options=OPTIONS)
    assert updated.record["stages"]["ingest"]["read"] == 3  # changed, new, and moved
    assert updated.record["stages"]["ingest"]["decoded"] == 2  # the moved one's bytes are known under its old name
    fresh = audit.scan(data, tmp_path / "fresh", options=OPTIONS)
    pd.testing.assert_frame_equal(updated.samples, fresh.samples)
    assert np.array_equal(updated.embeddings, fresh.embeddings, equal_nan=True)
    assert np.array_equal(updated.neighbors, fresh.neighbors)
    assert np.array_equal(updated.similarities, fresh.similarities, equal_nan=True)
    # Label reports about unchanged images depend on the last ones (audit.labels.hysteresis), their probabilities do not.
    pd.testing.assert_frame_equal(updated.label_quality, fresh.label_quality)
    found, wanted = (facts(run)[facts(run)["check"] != "label_errors"].reset_index(drop=True) for run in (updated, fresh))
    pd.testing.assert_frame_equal(found, wanted)


def test_touched_file_is_read_again_alone(tmp_path):
    data = dataset(tmp_path / "data")
    audit.scan(data, tmp_path / "run", options=OPTIONS)
    os.utime(data / "train/ant/0000.png", ns=(1, 1))
    assert audit.scan(data, tmp_path / "run", options=OPTIONS).record["stages"]["ingest"]["read"] == 1


class Counting:
    """Counts the progress of each stage."""

    def __init__(self):
        self.done, self.now = {}, ""

    def stage(self, name, total):
        self.now = name

    def advance(self, count):
        self.done[self.now] = self.done.get(self.now, 0) + count

    def note(self, message):
        pass


def test_search_runs_again_if_its_code_changed_but_not_for_another_version(tmp_path, monkeypatch):
    from audit.pipeline import code_digest
    from audit.pipeline import scan as pipeline

    data = dataset(tmp_path / "data")
    first = audit.scan(data, tmp_path / "run", options=OPTIONS)
    of_source = code_digest._module
    monkeypatch.setattr(pipeline, "version", lambda name: "99.0")
    other_version = Counting()
    audit.scan(data, tmp_path / "run", options=OPTIONS, observer=other_version)
    assert "neighbors" not in other_version.done
    monkeypatch.setattr(
        code_digest, "_module", lambda name: (of_source(name)[0] + "changed" * (name == "audit.neighbors.backends"), of_source(name)[1])
    )
    other_code = Counting()
    again = audit.scan(data, tmp_path / "run", options=OPTIONS, observer=other_code)
    assert other_code.done["neighbors"] == first.record["counts"]["scanned"]
    assert "images" not in other_code.done
    assert np.array_equal(first.neighbors, again.neighbors)


def test_progress_survives_a_change_of_the_dataset_after_a_kill(tmp_path, monkeypatch):
    from audit.pipeline import ingest as reading

    data = dataset(tmp_path / "data", per_class=40)
    monkeypatch.setattr(reading, "_BATCHES_PER_SEGMENT", 1)
    stop = KeyboardInterrupt()

    class Impatient:
        seen = 0

        def stage(self, name, total):
            pass

        def advance(self, count):
            self.seen += count
            if self.seen > 164 + 96:  # after the listing and three batches
                raise stop

        def note(self, message):
            pass

    with pytest.raises(KeyboardInterrupt):
        audit.scan(data, tmp_path / "run", options=OPTIONS, observer=Impatient())
    photo(91).save(data / "val/bee/late.png")
    run = audit.scan(data, tmp_path / "run", options=OPTIONS)
    assert len(run) == 165
    assert run.record["stages"]["ingest"]["read"] <= 165 - 64
    fresh = audit.scan(data, tmp_path / "fresh", options=OPTIONS)
    pd.testing.assert_frame_equal(run.samples, fresh.samples)
    pd.testing.assert_frame_equal(facts(run), facts(fresh))


def test_tar_and_folder_have_the_same_findings(tmp_path):
    import tarfile

    data = dataset(tmp_path / "data")
    with tarfile.open(tmp_path / "data.tar", "w") as archive:
        archive.add(data, "data")
    folder = audit.scan(data, tmp_path / "run-folder", options=OPTIONS)
    tar = audit.scan(tmp_path / "data.tar", tmp_path / "run-tar", options=OPTIONS)
    pd.testing.assert_frame_equal(facts(folder), facts(tar))


def test_refuses_unusable_run_directories(tmp_path):
    data = dataset(tmp_path / "data", per_class=2)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").touch()
    with pytest.raises(RunError, match="is not empty and holds no run"):
        audit.scan(data, tmp_path / "full", options=OPTIONS)
    with pytest.raises(SourceError, match="inside the dataset"):
        audit.scan(data, data / "run", options=OPTIONS)
    with pytest.raises(RunError, match="is a file"):
        audit.scan(data, tmp_path / "full/thesis.txt", options=OPTIONS)
    newer = tmp_path / "newer"
    newer.mkdir()
    (newer / "run.json").write_text('{"schema_version": 99}')
    with pytest.raises(RunError, match="newer version"):
        audit.scan(data, newer, options=OPTIONS)
    with pytest.raises(RunError, match="newer version"):
        audit.open_run(newer)
    with pytest.raises(RunError, match="not a run directory"):
        audit.open_run(tmp_path)
    for stray in ("{}", "[]", '{"schema_version": null}'):
        (newer / "run.json").write_text(stray)
        for read in (lambda: audit.scan(data, newer, options=OPTIONS), lambda: audit.open_run(newer)):
            with pytest.raises(RunError, match=r"newer/run.json: not the record of a run: it has no schema_version"):
                read()


def test_leaves_other_folders_unchanged(tmp_path):
    data = dataset(tmp_path / "data", per_class=2)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.txt").touch()
    with pytest.raises(RunError, match="holds no run"):
        audit.scan(data, tmp_path / "thesis", options=OPTIONS)
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.txt"]


def test_refuses_unfinished_run(tmp_path):
    data, run = dataset(tmp_path / "data", per_class=2), tmp_path / "run"
    audit.scan(data, run, options=OPTIONS)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"finished": False, "checks": {}}))
    with pytest.raises(RunError, match="run: its scan is not finished; run the same scan command again"):
        audit.open_run(run)
    assert len(audit.scan(data, run, options=OPTIONS).findings) > 0
    audit.open_run(run)


class Notes:
    """An observer that keeps the notes."""

    def __init__(self):
        self.notes = []

    def stage(self, name, total):
        pass

    def advance(self, count):
        pass

    def note(self, message):
        self.notes.append(message)


def test_notes_that_a_run_is_replaced_by_that_of_another_dataset(tmp_path):
    first, second = dataset(tmp_path / "first", per_class=2), dataset(tmp_path / "second", per_class=3)
    audit.scan(first, tmp_path / "run", options=OPTIONS)
    seen = Notes()
    audit.scan(first, tmp_path / "run", options=OPTIONS, observer=seen)
    assert seen.notes[-1].startswith("nothing has changed")
    seen = Notes()
    audit.scan(second, tmp_path / "run", options=OPTIONS, observer=seen)
    assert f"{tmp_path / 'run'} held the run of {first}; replacing it with the run of {second}" in seen.notes
    assert not any(note.startswith("nothing has changed") for note in seen.notes)


def test_dataset_that_cannot_be_listed_replaces_no_run(tmp_path):
    data, empty, run = dataset(tmp_path / "data", per_class=2), tmp_path / "empty.csv", tmp_path / "run"
    audit.scan(data, run, options=OPTIONS)
    empty.write_text("path,label\n")
    seen = Notes()
    with pytest.raises(SourceError, match="contains no images"):
        audit.scan(empty, run, options=OPTIONS, observer=seen)
    assert not any("replacing it" in note for note in seen.notes)
    assert audit.open_run(run).record["source"]["absolute"] == str(data)


def test_notes_outdated_reports_with_the_command_to_update_them(tmp_path):
    data, run = dataset(tmp_path / "data", per_class=2), tmp_path / "run"

    def outdated():
        seen = Notes()
        audit.scan(data, run, options=OPTIONS, observer=seen)
        return [note for note in seen.notes if "contradict" in note]

    assert outdated() == []
    for name in ("html", "markdown", "dataset_card"):
        assert cli.invoke(["report", str(run), "--format", name]) == 0
    assert outdated() == []
    (data / "train/ant/0000.png").unlink()
    notes = outdated()
    assert [note.partition(" ")[0] for note in notes] == [str(run / name) for name in ("dataset_card.md", "report.html", "report.md")]
    assert notes[0].endswith(f"with: imagenet-audit report {run} --format dataset_card")
    assert notes[1].endswith(f"with: imagenet-audit report {run}")
    for place in (run / "report.md", run / "dataset_card.md"):
        os.utime(place, (0, 0))
    assert cli.invoke(["report", str(run)]) == 0
    assert [note.partition(" ")[0] for note in outdated()] == [str(run / "dataset_card.md"), str(run / "report.md")]


def test_outdated_predictions_are_removed(tmp_path):
    data, run = dataset(tmp_path / "data", per_class=3), tmp_path / "run"
    audit.scan(data, run, options=OPTIONS)
    before = (run / "predictions.npy").stat().st_mtime_ns
    few = ScanOptions(backbone="embedded", device="cpu", only=("integrity",))
    audit.scan(data, run, options=few)
    audit.scan(data, run, options=OPTIONS)
    assert (run / "predictions.npy").stat().st_mtime_ns == before  # not needed in between, but still valid
    (data / "train/ant/0000.png").rename(data / "train/bee/moved.png")
    changed = audit.scan(data, run, options=few)
    for table in ("predictions", "label_quality"):
        with pytest.raises(RunError, match="this file of the run is missing"):
            getattr(changed, table)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"only": ("integrty",)}, "only: unknown check 'integrty'; did you mean 'integrity'?"),
        ({"skip": ("nope",)}, "skip: unknown check 'nope'"),
        ({"checks": {"nope": {}}}, "checks: unknown check 'nope'"),
        ({"checks": {"class_balance": {"fw": 3}}}, "checks.class_balance: unknown option 'fw'; did you mean 'few'?"),
        ({"checks": {"class_balance": {"few": -3}}}, "class_balance.few: -3 is too small"),
        ({"only": "integrity"}, "only: 'integrity' is a string, not a sequence of names"),
    ],
)
def test_refuses_unknown_checks_before_any_work(tmp_path, options, message):
    with pytest.raises(ConfigError) as raised:
        audit.scan(dataset(tmp_path / "data", per_class=2), tmp_path / "run", options=ScanOptions(backbone="embedded", **options))
    assert str(raised.value).startswith(message)
    assert not (tmp_path / "run").exists()


def test_refuses_a_run_directory_in_use(tmp_path):
    from filelock import FileLock

    data = dataset(tmp_path / "data", per_class=2)
    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run/.lock"), pytest.raises(RunError, match="another scan"):
        audit.scan(data, tmp_path / "run", options=OPTIONS)


def test_does_not_store_secrets_of_storage_options(tmp_path):
    from audit.sources import SourceOptions

    options = ScanOptions(backbone="embedded", source=SourceOptions(storage_options={"secret": "hunter2"}))
    audit.scan(dataset(tmp_path / "data", per_class=3), tmp_path / "run", options=options)
    assert "hunter2" not in (tmp_path / "run/run.json").read_text()


def test_full_disk_is_an_error_before_any_work(tmp_path, monkeypatch):
    data = dataset(tmp_path / "data", per_class=2)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        audit.scan(data, tmp_path / "run", options=OPTIONS)
    monkeypatch.undo()
    assert len(audit.scan(data, tmp_path / "run", options=OPTIONS)) == 12


def test_skips_label_errors_if_classes_have_one_distinct_image(tmp_path):
    for number in range(12):
        path = tmp_path / f"data/class{number}/photo.png"
        path.parent.mkdir(parents=True)
        photo(number).save(path)
        shutil.copyfile(path, path.with_name("copy.png"))
    run = audit.scan(tmp_path / "data", tmp_path / "run", options=OPTIONS)
    assert run.record["checks"]["label_errors"]["state"] == "skipped"
    assert "two distinct images" in run.record["checks"]["label_errors"]["reason"]
    assert run.record["checks"]["exact_duplicates"]["findings"] == 12
