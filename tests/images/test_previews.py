"""Previews show only scanned images, without their metadata."""

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
from audit.run.scanned_datasets import remember
from audit.sources import SourceOptions
from audit.tables import FINDINGS, SAMPLES, SCHEMA_VERSION
from dashboard.api.pictures import large

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
    remember(str(dataset), SourceOptions())
    return Run(path)


def dataset_of(run):
    return run.path.parent / "images"


def test_preview_is_small_upright_and_stored(run):
    image = opened(preview(run, 0))
    assert image.format == "JPEG"
    assert image.size == (SIDE, round(SIDE * 200 / 300))
    assert [path.stem for path in (run.path / FOLDER).iterdir()] == [run.samples["content_id"].iloc[0]]


def test_creates_previews_of_worst_images_and_partners(run):
    assert flagged_rows(run, 10) == [1, 0, 3, 2]
    assert flagged_rows(run, 1) == [1]
    assert make(run) == 3
    shutil.rmtree(dataset_of(run))
    again = Run(run.path)
    assert [opened(data).width if data else None for data in previews(again, [0, 1, 3])] == [SIDE, SIDE, None]


def test_falls_back_to_thumbnail_without_dataset_and_preview(run):
    shutil.rmtree(dataset_of(run))
    image = opened(preview(run, 2))
    assert image.size == (96, 64)
    assert not (run.path / FOLDER).exists()
    (run.path / "thumbnails.npy").unlink()
    assert preview(Run(run.path), 2) is None


def test_changed_image_falls_back_to_thumbnail(run):
    (dataset_of(run) / NAMES[0]).write_bytes(photo(99))
    assert opened(preview(run, 0)).width == 96  # the thumbnail of the scanned image


def test_previews_ignore_the_default_pixel_limit(run, monkeypatch):
    monkeypatch.setitem(decode.__kwdefaults__, "max_pixels", 1000)
    monkeypatch.setitem(shrink.__kwdefaults__, "max_pixels", 1000)
    assert opened(preview(run, 0)).width == SIDE
    assert opened(large(run, 0)).width == 300


def test_refuses_rows_outside_the_run(run):
    for row in (4, -1):
        with pytest.raises(IndexError, match="run of 4 images"):
            preview(run, row)


def test_recreates_empty_preview(run):
    first = preview(run, 0)
    (stored,) = (run.path / FOLDER).iterdir()
    stored.write_bytes(b"")
    assert preview(run, 0) == first


def test_read_only_run_shows_previews(run, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    assert opened(preview(run, 0)).width == SIDE
    assert not list((run.path / FOLDER).iterdir())


def test_preview_contains_no_metadata():
    exif = Image.Exif()
    exif[0x010E] = "SECRET"
    exif[0x0112] = 6
    data = photo(5, exif=exif, comment=b"SECRET", xmp=b"<x:SECRET/>")
    assert data.count(b"SECRET") == 3
    small = shrink(data)
    assert b"SECRET" not in small
    assert not opened(small).getexif()
    assert opened(small).size == (round(SIDE * 200 / 300), SIDE)  # upright, by its EXIF orientation


def test_undecodable_file_has_no_preview():
    assert shrink(b"<html>") is None
    assert shrink(photo(1), max_pixels=10) is None


def test_storage_error_falls_back_to_thumbnail(run):
    class Broken:
        def read(self, source_ref):
            raise RuntimeError(source_ref)

    assert [opened(data).width for data in previews(run, [0, 1], source=Broken())] == [96, 96]
    assert make(run, source=Broken()) == 0


def test_stops_at_the_time_limit(run):
    assert make(run, seconds=0) == 0


def test_scan_creates_previews_and_the_dataset_is_found_from_any_folder(tmp_path, monkeypatch):
    import audit

    for number in range(3):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "images" / f"{number}.jpg").write_bytes(photo(0))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("audit.pipeline.scan._PREVIEWS_SHARE", 100)  # independent of this machine's speed
    finished = audit.scan("images", "run", options=audit.ScanOptions(backbone="embedded", only=("exact_duplicates",), workers=1))
    assert len(list((finished.path / FOLDER).iterdir())) == 1  # three copies of one image
    shutil.rmtree(finished.path / FOLDER)
    monkeypatch.chdir("/")
    assert opened(preview(Run(tmp_path / "run"), 0)).width == SIDE
