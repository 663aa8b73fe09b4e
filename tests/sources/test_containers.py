"""Arrays, TFRecord files and annotations: corrupt and hostile ones, and what is not lost."""

import importlib.util
import io
import json
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from audit.errors import SourceError
from audit.sources import SourceOptions, open_source

_spec = importlib.util.spec_from_file_location("layouts", Path(__file__).with_name("layouts.py"))
layouts = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(layouts)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def listed(location, **options):
    source = open_source(location, SourceOptions(**options))
    return {sample.sample_id: sample for sample in source.collect()}, source


def test_arrays_are_read_as_the_same_pixels():
    layouts.cifar()
    found, source = listed("cifar")
    sample = found["data_batch_1/000001-b.png"]
    pixels = np.asarray(Image.open(io.BytesIO(source.read(sample.source_ref))))
    data = np.random.default_rng(0).integers(0, 256, (4, 3072), np.uint8)
    assert np.array_equal(pixels, data[1].reshape(3, 32, 32).transpose(1, 2, 0))
    assert (sample.label, sample.split) == ("dog", "train")
    layouts.npz()
    found, source = listed("pets.npz")
    first = np.load("pets.npz")["x_test"][0]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(source.read(found["pets/x_test/000000"].source_ref)))), first)


class Hostile:
    def __reduce__(self):
        return os.system, ("touch stolen",)


@pytest.mark.parametrize("data", [Hostile(), {b"data": Hostile(), b"labels": [0]}, [1], {b"labels": [0]}])
def test_pickles_run_no_code(data):
    layouts.write("cifar/data_batch_1", pickle.dumps(data))
    with pytest.raises(SourceError, match="data_batch_1: is not a readable file of arrays"):
        listed("cifar")
    assert not Path("stolen").exists()


def test_arrays_of_objects_are_refused():
    np.savez("pets.npz", images=np.array([[[Hostile()]]], object), labels=[0])
    with pytest.raises(SourceError, match="is not a readable file of arrays"):
        listed("pets.npz")
    assert not Path("stolen").exists()


def test_arrays_with_other_numbers_of_labels_lose_them_with_a_finding():
    np.savez("pets.npz", images=np.zeros((3, 8, 8), np.uint8), labels=[0, 1])
    found, source = listed("pets.npz")
    assert {sample.label for sample in found.values()} == {None}
    assert [(problem.kind, problem.severity) for problem in source.problems] == [("unmatched_labels", "error")]


@pytest.mark.parametrize(("low", "high", "shape"), [(0, 1, (4, 8, 8, 1)), (0, 255, (4, 3, 8, 8)), (0, 255, (4, 8, 8, 3))])
def test_float_arrays_are_scaled(low, high, shape):
    np.savez("pets.npz", train_images=np.linspace(low, high, int(np.prod(shape))).reshape(shape), train_labels=np.array([[0], [1], [0], [1]]))
    found, source = listed("pets.npz")
    assert {(sample.label, sample.split) for sample in found.values()} == {("0", "train"), ("1", "train")}
    last = np.asarray(Image.open(io.BytesIO(source.read(found["pets/train_images/000003"].source_ref))))
    assert last.max() == 255
    np.savez("pets.npz", train_images=np.full(shape, 300.0), train_labels=[0] * 4)
    with pytest.raises(SourceError, match="store them as 8 bits"):
        listed("pets.npz")


def test_cut_idx_file_is_refused():
    layouts.idx()
    path = Path("mnist/raw/train-images-idx3-ubyte")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(SourceError, match="train-images-idx3-ubyte: is not a readable file of arrays"):
        listed("mnist")


def test_tfrecord_keeps_metadata_and_reports_its_end():
    layouts.tfrecord("train.tfrecord", 0)
    found, source = listed("train.tfrecord")
    sample = found["train/000001"]
    assert (sample.label, sample.split, dict(sample.metadata)) == ("dog", "train", {"image/class/label": 1, "width": 8, "ratio": 1.5})
    assert source.read(sample.source_ref) == layouts.png(1)
    whole = Path("train.tfrecord").read_bytes()
    Path("train.tfrecord").write_bytes(whole[:-50])
    found, source = listed("train.tfrecord")
    assert len(found) == 3
    assert [problem.kind for problem in source.problems] == ["not_listed"]
    no_image = layouts.example({"text": b"x"})
    Path("train.tfrecord").write_bytes(whole + struct.pack("<Q", len(no_image)) + bytes(4) + no_image + bytes(4))
    assert [problem.evidence for problem in listed("train.tfrecord")[1].problems] == [{"entries": 1}]
    Path("train.tfrecord").write_bytes(b"x" * 99)
    with pytest.raises(SourceError, match="is not a readable TFRecord file"):
        listed("train.tfrecord")


def test_parser_of_examples_never_hangs():
    from audit.sources.tfrecord import parse_example

    whole = layouts.example({"image": b"\x89PNG" * 9, "label": 3})
    random = np.random.default_rng(0)
    for _ in range(500):
        damaged = bytearray(whole)
        for at in random.integers(0, len(whole), 3):
            damaged[at] = random.integers(0, 256)
        try:
            parse_example(bytes(damaged))
        except (ValueError, IndexError):
            continue


def test_annotations_of_missing_images_and_images_without_annotations():
    layouts.coco()
    Path("coco/train2017/000000000000.png").unlink()
    layouts.write("coco/val2017/extra.png", layouts.png(99))
    found, _ = listed("coco", kind="coco")
    assert found["train2017/000000000000.png"].fingerprint == "missing"
    assert found["val2017/extra.png"].label is None
    layouts.write("coco/annotations/captions.json", json.dumps({"images": [], "annotations": []}))
    assert len(listed("coco", kind="coco")[0]) == 9


def test_several_objects_are_several_labels():
    layouts.voc()
    layouts.write(
        "voc/Annotations/0.xml", "<a><object><name>dog</name></object><object><name>cat</name></object><object><name>cat</name></object></a>"
    )
    layouts.write("voc/Annotations/1.xml", "<annotation></annotation>")
    found, _ = listed("voc", kind="voc")
    assert found["JPEGImages/0.png"].labels == ("cat", "dog")
    assert (found["JPEGImages/1.png"].label, found["JPEGImages/1.png"].labels) == (None, None)


def test_class_numbers_of_yolo_without_a_name():
    layouts.yolo()
    layouts.write("yolo/labels/train/0.txt", "7 0.5 0.5 0.1 0.1")
    found, source = listed("yolo", kind="yolo")
    assert found["train/0.png"].label == "7"
    assert [problem.kind for problem in source.problems] == ["unknown_class_numbers"]


@pytest.mark.parametrize("kind", ["coco", "voc", "yolo"])
def test_refuses_images_without_annotations(kind):
    layouts.folders("pets/cat")
    with pytest.raises(SourceError, match="contains no "):
        listed("pets", kind=kind)


@pytest.mark.parametrize(
    ("name", "hint"), [("a.h5", "save the images as .npz"), ("a.rar", "extract it"), ("a.mp4", "ffmpeg -i"), ("a.csv", "imagenet-audit scan TABLE")]
)
def test_error_says_what_to_do_with_what_is_not_read(name, hint):
    layouts.write(f"set/{name}", b"x")
    with pytest.raises(SourceError, match="contains no images, only other files") as caught:
        listed("set")
    assert hint in caught.value.hint


def objects(folder, boxes):
    """Write one image of 100 x 80 pixels with boxes of (class, left, top, width, height)."""
    pixels = np.random.default_rng(5).integers(0, 256, (80, 100, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    layouts.write(f"{folder}/train/1.png", out.getvalue())
    layouts.write(f"{folder}/train/2.png", layouts.png(2))
    content = {
        "images": [{"id": 1, "file_name": "1.png", "width": 100, "height": 80}, {"id": 2, "file_name": "2.png", "width": 8, "height": 8}],
        "annotations": [{"image_id": 1, "category_id": number, "bbox": box} for number, *box in boxes],
        "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
    }
    layouts.write(f"{folder}/train/_annotations.coco.json", json.dumps(content))
    return pixels


def test_objects_are_samples():
    boxes = [(0, 20, 20, 20, 40), (1, 90, 60, 30, 10), (1, 90, 60, 30, 10), (0, 5, 5, 0, 9), (0, 200, 5, 10, 10), (1, 50, 50, 4, 20)]
    pixels = objects("set", boxes)
    found, source = listed("set", kind="coco", objects=True)
    assert {name: (sample.label, sample.split, sample.metadata["image"]) for name, sample in found.items()} == {
        "train/1.png#000": ("cat", "train", "train/1.png"),
        "train/1.png#001": ("dog", "train", "train/1.png"),
        "train/1.png#005": ("dog", "train", "train/1.png"),
    }
    again = pickle.loads(pickle.dumps(source))
    crop = np.asarray(Image.open(io.BytesIO(again.read(found["train/1.png#000"].source_ref))))
    assert np.array_equal(crop, pixels[16:64, 18:42])
    assert np.asarray(Image.open(io.BytesIO(source.read(found["train/1.png#001"].source_ref)))).shape == (12, 13, 3)
    assert {problem.kind: (problem.severity, problem.evidence["entries"]) for problem in source.problems} == {
        "empty_boxes": ("error", 2),
        "repeated_boxes": ("warning", 1),
        "boxes_outside": ("warning", 1),
        "tiny_boxes": ("info", 1),
        "no_objects": ("info", 1),
    }
    assert any("2 annotations without an area inside the image, not listed: 'train/1.png#003'" in problem.message for problem in source.problems)


@pytest.mark.parametrize(("build", "kind"), [(layouts.coco, "coco"), (layouts.voc, "voc"), (layouts.yolo, "yolo")])
def test_objects_of_every_format(build, kind):
    build()
    if kind == "voc":
        box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>6</ymax></bndbox>"
        layouts.write("voc/Annotations/0.xml", f"<a><size><width>8</width><height>8</height></size><object><name>cat</name>{box}</object></a>")
    found, source = listed(kind, kind=kind, objects=True)
    assert found
    assert {sample.label for sample in found.values()} <= {"cat", "dog"}
    assert all(Image.open(io.BytesIO(source.read(sample.source_ref))).size[0] >= 1 for sample in found.values())


def test_crop_of_a_broken_image_is_its_bytes():
    objects("set", [(0, 20, 20, 20, 40)])
    layouts.write("set/train/1.png", b"<html>gone</html>")
    found, source = listed("set", kind="coco", objects=True)
    assert source.read(found["train/1.png#000"].source_ref) == b"<html>gone</html>"


def test_objects_need_annotations():
    layouts.folders("pets/cat")
    with pytest.raises(SourceError, match="`objects`: has no effect on a folder source"):
        listed("pets", objects=True)
