"""Arrays, TFRecord files and annotations: corrupt and hostile ones, and what is not lost."""

import importlib.util
import io
import json
import os
import pickle
import struct
import sys
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


def in_order(location, **options):
    found, source = listed(location, **options)
    return list(found.values()), source


def decoded(source, sample):
    return np.asarray(Image.open(io.BytesIO(source.read(sample.source_ref))))


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
    ("name", "hint"), [("a.pt", "save the images as .npz"), ("a.rar", "extract it"), ("a.mp4", "ffmpeg -i"), ("a.csv", "imagenet-audit scan TABLE")]
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


def test_cifar_100_binary_has_fine_labels():
    random = np.random.default_rng(0)
    layouts.write("cifar/train.bin", b"".join(bytes([7, number]) + random.bytes(3072) for number in range(3)))
    layouts.write("cifar/fine_label_names.txt", "apple\nbaby\nbear\n")
    found, source = in_order("cifar")
    assert [sample.label for sample in found] == ["apple", "baby", "bear"]
    assert decoded(source, found[0]).shape == (32, 32, 3)


def test_pixels_of_binary_and_matlab_arrays_are_upright():
    layouts.stl()
    found, source = in_order("stl10_binary")
    raw = np.frombuffer(Path("stl10_binary/test_X.bin").read_bytes(), np.uint8).reshape(4, 3, 96, 96)
    of_first = next(sample for sample in found if sample.sample_id.startswith("test"))
    assert np.array_equal(decoded(source, of_first), raw[0].transpose(2, 1, 0))
    layouts.matlab()
    from scipy.io import loadmat

    found, source = in_order("svhn/train_32x32.mat")
    assert np.array_equal(decoded(source, found[2]), loadmat("svhn/train_32x32.mat")["X"][..., 2])


def test_hdf5_arrays_in_groups_and_values_in_other_files():
    import h5py

    images = np.random.default_rng(0).integers(0, 256, (4, 9, 8, 3), np.uint8)
    with h5py.File("all.h5", "w") as file:
        file["train/images"], file["train/labels"] = images, [0, 1, 2, 3]
        layouts.write("secret.bin", b"x" * 4 * 8 * 8 * 3)
        file.create_dataset("test/images", (4, 8, 8, 3), np.uint8, external=[("secret.bin", 0, 4 * 8 * 8 * 3)])
    found, source = in_order("all.h5")
    assert [(sample.split, sample.label) for sample in found] == [("train", str(number)) for number in range(4)]
    assert np.array_equal(decoded(source, found[1]), images[1])


def test_matlab_7_3_is_read_as_hdf5():
    import h5py

    images = np.random.default_rng(0).integers(0, 256, (10, 8, 3, 5), np.uint8)
    with h5py.File("new.mat", "w", userblock_size=512) as file:
        file["X"], file["y"] = images.T, np.arange(5)[None]
    with Path("new.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file")
    found, source = in_order("new.mat")
    assert [sample.label for sample in found] == ["0", "1", "2", "3", "4"]
    assert np.array_equal(decoded(source, found[3]), images[..., 3])


def test_missing_h5py_is_one_line(monkeypatch):
    layouts.hdf5()
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(SourceError, match=r"needs the package h5py.*pip install 'imagenet-audit\[hdf5\]'"):
        listed("pcam")


@pytest.mark.parametrize("name", ["a.mat", "a.h5", "data_batch_1.bin", "train_X.bin"])
def test_corrupt_files_of_arrays_are_one_line(name):
    layouts.write(name, b"MATLAB 5.0" + bytes(range(256)) * 20)
    with pytest.raises(SourceError, match="not a readable file of arrays"):
        listed(name)


def test_way_forward_for_lmdb_names_a_command():
    layouts.write("db/data.mdb", b"\0" * 100)
    with pytest.raises(SourceError, match=r"pip install lmdb && python -c"):
        listed("db")
