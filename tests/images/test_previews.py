"""Previews show what was scanned, and nothing else of the dataset."""

import hashlib
import io
import json
import shutil

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from audit.images.decode import decode
from audit.images.previews import FOLDER, SIDE, flagged_rows, make, preview, previews, shrink
from audit.io.artifacts import write_array, write_json, write_table
from audit.run.run import Run
from audit.tables import FINDINGS, SAMPLES, SCHEMA_VERSION
from dashboard.components.images import large

NAMES = ("a/1.jpg", "a/2.jpg", "a/3.jpg", "a/4.jpg")


def photo(seed, size=(300, 200), **save):
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1] // 20, size[0] // 20, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).resize(size).save(stream, "JPEG", **save)
    return stream.getvalue()


def opened(data):
    return Image.open(io.BytesIO(data))


@pytest.fixture
def run(tmp_path):
    """Four images: 2 is flagged with partner 1, 4 is truncated and flagged, 3 is an example of its class."""
    dataset, path = tmp_path / "images", tmp_path / "run"
    (dataset / "a").mkdir(parents=True)
    (path / "findings").mkdir(parents=True)
    samples = []
    for number, name in enumerate(NAMES):
        data = photo(number)[: 4000 if number == 3 else None]
        (dataset / name).write_bytes(data)
        row = {"sample_id": name, "source_ref": name, "fingerprint": "", "label": "a", "outcome": "truncated" if number == 3 else "ok"}
        samples.append(row | {"content_id": hashlib.sha256(data).hexdigest(), "width": 300, "height": 200})
    write_table(path / "samples.parquet", pa.Table.from_pylist(samples, SAMPLES))
    findings = [
        {"check": "c", "kind": "k", "subject": "sample", "severity": "warning", "message": "m"}
        | {"finding_id": f"f{number}", "score": score, "sample_id": NAMES[number], "evidence": json.dumps(evidence)}
        for number, score, evidence in ((1, 0.9, {"partner": NAMES[0]}), (3, 0.5, {}))
    ]
    of_class = {"subject": "class", "label": "a", "sample_id": None, "evidence": json.dumps({"examples": [NAMES[2], "gone.jpg"]})}
    findings.append(findings[0] | {"finding_id": "f9", "severity": "info"} | of_class)
    write_table(path / "findings" / "c.parquet", pa.Table.from_pylist(findings, FINDINGS))
    write_array(path / "thumbnails.npy", np.full((4, 32, 32, 3), 200, np.uint8))
    record = {
        "schema_version": SCHEMA_VERSION,
        "counts": {"listed": 4, "scanned": 4, "failed": 0, "outcomes": {}},
        "checks": {"c": {"state": "done", "findings": 3}},
    }
    write_json(path / "run.json", record | {"source": {"kind": "folder", "location": str(dataset)}, "options": {"source": {}}})
    return Run(path)


def dataset_of(run):
    return run.path.parent / "images"


def test_a_preview_is_small_upright_and_kept(run):
    image = opened(preview(run, 0))
    assert image.format == "JPEG"
    assert image.size == (SIDE, round(SIDE * 200 / 300))
    assert [path.stem for path in (run.path / FOLDER).iterdir()] == [run.samples["content_id"].iloc[0]]


def test_the_worst_and_their_partners_are_made_and_shown_without_the_dataset(run):
    assert flagged_rows(run, 10) == [1, 0, 3, 2]
    assert flagged_rows(run, 1) == [1]
    assert make(run) == 3
    shutil.rmtree(dataset_of(run))
    again = Run(run.path)
    assert [opened(data).width if data else None for data in previews(again, [0, 1, 3])] == [SIDE, SIDE, None]


def test_without_dataset_and_preview_the_thumbnail_stands_in(run):
    shutil.rmtree(dataset_of(run))
    image = opened(preview(run, 2))
    assert image.size == (96, 64)
    assert not (run.path / FOLDER).exists()
    (run.path / "thumbnails.npy").unlink()
    assert preview(Run(run.path), 2) is None


def test_an_image_that_changed_since_the_scan_is_not_shown(run):
    (dataset_of(run) / NAMES[0]).write_bytes(photo(99))
    assert opened(preview(run, 0)).width == 96  # the stored thumbnail, of what was scanned


def test_an_image_that_a_scan_with_a_limit_of_its_own_decoded_is_shown(run, monkeypatch):
    monkeypatch.setitem(decode.__kwdefaults__, "max_pixels", 1000)
    monkeypatch.setitem(shrink.__kwdefaults__, "max_pixels", 1000)
    assert opened(preview(run, 0)).width == SIDE
    assert opened(large(run, 0)).width == 300


def test_only_images_that_the_run_lists(run):
    for row in (4, -1):
        with pytest.raises(IndexError, match="run of 4 images"):
            preview(run, row)


def test_a_damaged_preview_is_made_anew(run):
    first = preview(run, 0)
    (kept,) = (run.path / FOLDER).iterdir()
    kept.write_bytes(b"")
    assert preview(run, 0) == first


def test_a_run_that_may_not_be_written_still_shows(run, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    assert opened(preview(run, 0)).width == SIDE
    assert not list((run.path / FOLDER).iterdir())


def test_nothing_of_the_metadata_remains():
    exif = Image.Exif()
    exif[0x010E] = "SECRET"
    exif[0x0112] = 6
    data = photo(5, exif=exif, comment=b"SECRET", xmp=b"<x:SECRET/>")
    assert data.count(b"SECRET") == 3
    small = shrink(data)
    assert b"SECRET" not in small
    assert not opened(small).getexif()
    assert opened(small).size == (round(SIDE * 200 / 300), SIDE)  # turned upright, as the EXIF asked


def test_what_is_no_image_has_no_preview():
    assert shrink(b"<html>") is None
    assert shrink(photo(1), max_pixels=10) is None


def test_storage_that_fails_in_any_way_costs_a_preview_only(run):
    class Broken:
        def read(self, source_ref):
            raise RuntimeError(source_ref)

    assert [opened(data).width for data in previews(run, [0, 1], source=Broken())] == [96, 96]
    assert make(run, source=Broken()) == 0


def test_time_is_kept(run):
    assert make(run, seconds=0) == 0


def test_a_scan_leaves_previews_and_is_found_from_any_folder(tmp_path, monkeypatch):
    import audit
    from audit.pipeline.scan import scan

    for number in range(3):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "images" / f"{number}.jpg").write_bytes(photo(0))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("audit.pipeline.scan._PREVIEWS_SHARE", 100)  # however slow this machine is just now
    made = scan("images", "run", options=audit.ScanOptions(backbone="embedded", only=("exact_duplicates",), workers=1))
    assert len(list((made.path / FOLDER).iterdir())) == 1  # three copies of one picture
    shutil.rmtree(made.path / FOLDER)
    monkeypatch.chdir("/")
    assert opened(preview(Run(tmp_path / "run"), 0)).width == SIDE
