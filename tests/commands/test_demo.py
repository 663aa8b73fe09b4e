import io
import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

import audit
from audit import cli
from audit.checks import discover
from audit.demo import GPS_IFD, PHOTOGRAPHS, TRAIN, VAL, Planted, compare, describe, make
from audit.errors import AuditError


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "images"
    return folder, make(folder)


def opened(path):
    return Image.open(io.BytesIO(path.read_bytes()))


def pixels(path):
    return np.asarray(opened(path).convert("RGB"), np.float64)


def test_classes_have_equal_numbers_of_sound_images(images):
    folder, planted = images
    odd = {defect.sample_id for defect in planted}
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg")]
    counts = Counter(tuple(name.split("/")[:2]) for name in names if name not in odd)
    assert counts == {(split, label): number for label in PHOTOGRAPHS for split, number in (("train", TRAIN), ("val", VAL))}
    assert odd <= set(names)
    assert len({defect.defect for defect in planted}) == len(planted)


def test_sound_images_are_distinct(images):
    folder, planted = images
    odd = {defect.sample_id for defect in planted}
    sound = [pixels(path) for path in sorted(folder.rglob("*-[0-9]*.jpg")) if path.relative_to(folder).as_posix() not in odd]
    small = np.stack([np.asarray(Image.fromarray(image.astype(np.uint8)).resize((8, 8))).ravel() for image in sound]).astype(float)
    correlation = np.corrcoef(small)
    np.fill_diagonal(correlation, 0)
    assert len(sound) == len(PHOTOGRAPHS) * (TRAIN + VAL)
    assert correlation.max() < 0.98


def test_planted_defects_exist(images):
    folder, planted = images
    by_defect = {defect.defect: defect for defect in planted}

    def bytes_of(defect):
        return (folder / by_defect[defect].sample_id).read_bytes(), (folder / by_defect[defect].original).read_bytes()

    for defect in ("an exact copy", "a copy under another label", "a copy across splits"):
        copy, original = bytes_of(defect)
        assert copy == original
    copy, original = (Image.open(io.BytesIO(data)) for data in bytes_of("a resized copy"))
    assert copy.size != original.size
    assert opened(folder / by_defect["GPS coordinates in the EXIF data"].sample_id).getexif().get_ifd(GPS_IFD)
    assert opened(folder / by_defect["a wrong file extension"].sample_id).format == "PNG"
    assert pixels(folder / by_defect["a dark image"].sample_id).mean() < 16
    with pytest.raises(OSError, match="truncated"):
        opened(folder / by_defect["a truncated file"].sample_id).load()


def test_second_call_writes_nothing(images):
    folder, planted = images
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*.jpg")}
    assert make(folder) == planted
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*.jpg")} == before


def test_refuses_run_of_another_dataset(small_run, capsys):
    before = {path: path.stat().st_mtime_ns for path in small_run.path.rglob("*")}
    assert cli.invoke(["demo", "--out", str(small_run.path)]) == 2
    assert "holds the run of /data/pets; choose another --out" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in small_run.path.rglob("*")} == before
    assert not small_run.path.with_name(f"{small_run.path.name}-images").exists()


def test_refuses_folder_with_other_files(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(AuditError, match=r"contains other files, such as 'mine.txt'; choose another --out"):
        make(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_rewrites_corrupt_file(tmp_path):
    make(tmp_path)
    path = tmp_path / "train/cat/cat-00.jpg"
    before = path.read_bytes()
    path.write_bytes(b"")
    make(tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("planted", "state", "reason"),
    [
        (Planted("train/cat/1.jpg", "d", "conflicting_labels"), "found", "is train/dog/1.jpg, labelled n2"),
        (
            Planted("train/cat/2.jpg", "d", "conflicting_labels", original="train/cat/1.jpg"),
            "found",
            "train/cat/1.jpg: is train/dog/1.jpg, labelled n2",
        ),
        (Planted("train/cat/2.jpg", "d", "conflicting_labels"), "missed", "no finding about this image"),
        (Planted("train/dog/3.jpg", "d", "integrity", ("truncated",)), "found", "ends after 3 of 9 blocks"),
        (Planted("train/dog/3.jpg", "d", "integrity", ("empty",)), "missed", "no finding about this image"),
        (Planted("train/dog/3.jpg", "d", "label_errors"), "not looked for", "no predictions"),
        (Planted("train/dog/3.jpg", "d", "privacy"), "not looked for", "this check is not installed"),
    ],
)
def test_outcomes(small_run, planted, state, reason):
    (outcome,) = compare(small_run, [planted])
    assert (outcome.state, outcome.reason, outcome.finding_id is not None) == (state, reason, state == "found")
    assert f"1 defects, {int(state == 'found')} found" in describe([outcome])
    assert reason in describe([outcome])
    assert json.loads(json.dumps(outcome.as_dict()))["state"] == state


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """A scan of the demo dataset."""
    folder = tmp_path_factory.mktemp("scanned")
    planted = make(folder / "images")
    run = audit.scan(folder / "images", folder / "run", options=audit.ScanOptions(backbone="embedded", offline=True, workers=1))
    return run, compare(run, planted)


def test_expected_checks_find_every_planted_defect(scanned):
    _, outcomes = scanned
    assert {outcome.planted.defect: outcome.state for outcome in outcomes} == {outcome.planted.defect: "found" for outcome in outcomes}
    assert {outcome.planted.check for outcome in outcomes} <= set(discover())


def test_most_findings_are_about_what_was_planted(scanned):
    """Otherwise the demo would suggest that findings are noise."""
    run, outcomes = scanned
    planted = {name for outcome in outcomes for name in (outcome.planted.sample_id, outcome.planted.original)}
    findings = run.findings[run.findings["severity"] != "info"]
    assert findings["sample_id"].isin(planted).mean() >= 0.5


def test_counts_account_for_all_images(scanned, capsys):
    run, outcomes = scanned
    listed = len(PHOTOGRAPHS) * (TRAIN + VAL) + len(outcomes)
    assert cli.invoke(["explain", str(run.path), outcomes[0].planted.sample_id]) == 0
    assert outcomes[0].planted.original in capsys.readouterr().out
    assert run.record["counts"]["listed"] == listed == run.record["counts"]["scanned"] + run.record["counts"]["failed"]


def test_command_prints_defects_then_summary(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.invoke(["demo", "--offline", "--workers", "1", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.startswith("planted in the demo: ")
    assert f"listed {len(list(tmp_path.rglob('demo-run-images/*/*/*')))} = scanned " in captured.out
    assert cli.invoke(["demo", "--offline", "--workers", "1", "--quiet", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [entry["state"] for entry in document["planted"]] == ["found"] * len(document["planted"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo-run", "demo-run-images"]
