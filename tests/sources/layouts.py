"""Small datasets in common layouts, with what they say about each image."""

import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

CLASSES = ("cat", "dog")
SPLITS = ("train", "test")


class Truth(NamedTuple):
    """What a dataset says: the number of images by split, and by label."""

    splits: dict[str, int]
    labels: dict[str, int]


PLAIN = Truth({"(none)": 8}, {"cat": 4, "dog": 4})
SPLIT = Truth({"train": 4, "test": 4}, {"cat": 4, "dog": 4})


def png(number: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


def write(path: str, data: bytes | str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(data if isinstance(data, bytes) else data.encode())


def images(*folders: str, count: int = 2) -> dict[str, bytes]:
    return {f"{folder}/{at * count + number}.png": png(at * count + number) for at, folder in enumerate(folders) for number in range(count)}


def folders(*names: str, count: int = 2) -> None:
    for name, data in images(*names, count=count).items():
        write(name, data)


def split_folders(form: str) -> None:
    folders(*(form.format(split=split, label=label) for split in SPLITS for label in CLASSES))


def of(number: int) -> str:
    return CLASSES[number % 2]


def tar(path: str, files: dict[str, bytes], mode: str = "w") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), 1
            archive.addfile(member, io.BytesIO(data))


def zipped(path: str, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def table(path: str, header: str, row: Callable[[int], str], names: Callable[[int], str] = "pets/{}.png".format) -> None:
    for number in range(8):
        write(str(Path(path).parent / names(number)), png(number))
    write(path, "\n".join([*filter(None, [header]), *(f"{names(number)}{row(number)}" for number in range(8))]))


def parquet(path: str, start: int) -> None:
    what = {"info": {"features": {"label": {"names": list(CLASSES), "_type": "ClassLabel"}}}}
    found = pa.table({"image": [{"bytes": png(n), "path": None} for n in range(start, start + 4)], "label": [n % 2 for n in range(4)]})
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if path.endswith(".arrow"):
        with pa.ipc.new_stream(path, found.schema) as stream:
            stream.write_table(found)
        write(str(Path(path).parent / "dataset_info.json"), json.dumps(what["info"]))
        write(str(Path(path).parent / "state.json"), "{}")
    else:
        pq.write_table(found.replace_schema_metadata({"huggingface": json.dumps(what)}), path)


def shard(path: str, start: int) -> None:
    files = {}
    for number in range(start, start + 4):
        files |= {f"{number:04d}.png": png(number), f"{number:04d}.cls": of(number).encode()}
    tar(path, files)


def hugging_face() -> None:
    for split in SPLITS:
        table(f"pets/{split}/metadata.csv", "file_name,label", lambda n: f",{of(n)}", "{}.png".format)


def roboflow() -> None:
    for split in SPLITS:
        table(f"pets/{split}/_classes.csv", "filename, cat, dog", lambda n: f", {1 - n % 2}, {n % 2}", "{}.png".format)


def kaggle() -> None:
    folders("pets/train_images", count=8)
    write("pets/train.csv", "\n".join(["image_id,label", *(f"{n},{of(n)}" for n in range(8))]))


def idx() -> None:
    for name, start in (("train", 0), ("t10k", 4)):
        pixels = np.random.default_rng(start).integers(0, 256, (4, 28, 28), np.uint8)
        write(f"mnist/raw/{name}-images-idx3-ubyte", b"\0\0\x08\3" + struct.pack(">3I", 4, 28, 28) + pixels.tobytes())
        write(f"mnist/raw/{name}-labels-idx1-ubyte.gz", gzip.compress(b"\0\0\x08\1" + struct.pack(">I", 4) + bytes([0, 1, 0, 1])))


def cifar() -> None:
    for name, start in (("data_batch_1", 0), ("test_batch", 4)):
        data = np.random.default_rng(start).integers(0, 256, (4, 3072), np.uint8)
        write(f"cifar/{name}", pickle.dumps({b"data": data, b"labels": [0, 1, 0, 1], b"filenames": [b"a.png", b"b.png", b"c.png", b"d.png"]}))
    write("cifar/batches.meta", pickle.dumps({b"label_names": [b"cat", b"dog"]}))


def npz() -> None:
    random = np.random.default_rng(0)
    both = {f"x_{split}": random.integers(0, 256, (4, 8, 8, 3), np.uint8) for split in SPLITS} | {
        f"y_{split}": np.array([0, 1, 0, 1]) for split in SPLITS
    }
    np.savez("pets.npz", **both)


def cifar_binary() -> None:
    """Write rows of a label and 3,072 bytes."""
    random = np.random.default_rng(0)
    for name in ("data_batch_1", "test_batch"):
        write(f"cifar/{name}.bin", b"".join(bytes([number % 2]) + random.bytes(3072) for number in range(4)))
    write("cifar/batches.meta.txt", "cat\ndog\n")


def stl() -> None:
    """Write STL-10's files: images column by column, labels from 1."""
    random = np.random.default_rng(0)
    for split in SPLITS:
        write(f"stl10_binary/{split}_X.bin", random.bytes(4 * 3 * 96 * 96))
        write(f"stl10_binary/{split}_y.bin", bytes([1, 2, 1, 2]))
    write("stl10_binary/class_names.txt", "cat\ndog\n")


def matlab() -> None:
    """Write files like SVHN's: the last axis counts the images."""
    from scipy.io import savemat

    Path("svhn").mkdir(exist_ok=True)
    for seed, split in enumerate(SPLITS):
        images = np.random.default_rng(seed).integers(0, 256, (32, 32, 3, 4), np.uint8)
        savemat(f"svhn/{split}_32x32.mat", {"X": images, "y": np.array([[1], [10], [1], [10]])})


def hdf5() -> None:
    """Write files like PatchCamelyon's, with the labels beside them."""
    import h5py

    Path("pcam").mkdir(exist_ok=True)
    for seed, split in enumerate(SPLITS):
        with h5py.File(f"pcam/level_2_split_{split}_x.h5", "w") as file:
            file["x"] = np.random.default_rng(seed).integers(0, 256, (4, 12, 12, 3), np.uint8)
        with h5py.File(f"pcam/level_2_split_{split}_y.h5", "w") as file:
            file["y"] = np.array([0, 1, 0, 1], np.uint8).reshape(4, 1, 1, 1)


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def example(features: dict[str, bytes | int | float]) -> bytes:
    entries = b""
    for name, value in features.items():
        if isinstance(value, bytes):
            feature = field(1, field(1, value))
        elif isinstance(value, int):
            feature = field(3, field(1, varint(value)))
        else:
            feature = field(2, field(1, struct.pack("<f", value)))
        entries += field(1, field(1, name.encode()) + field(2, feature))
    return field(1, entries)


def tfrecord(path: str, start: int) -> None:
    records = b""
    for number in range(start, start + 4):
        data = example(
            {"image/encoded": png(number), "image/class/label": number % 2, "image/class/text": of(number).encode(), "width": 8, "ratio": 1.5}
        )
        records += struct.pack("<Q", len(data)) + bytes(4) + data + bytes(4)
    write(path, records)


def coco() -> None:
    for split, folder, start in (("train", "train2017", 0), ("val", "val2017", 4)):
        for number in range(start, start + 4):
            write(f"coco/{folder}/{number:012d}.png", png(number))
        content = {
            "images": [{"id": n, "file_name": f"{n:012d}.png"} for n in range(start, start + 4)],
            "annotations": [{"image_id": n, "category_id": n % 2, "bbox": [0, 0, 4, 4]} for n in range(start, start + 4) for _ in range(2)],
            "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
        }
        write(f"coco/annotations/instances_{split}2017.json", json.dumps(content))


def voc() -> None:
    for number in range(8):
        write(f"voc/JPEGImages/{number}.png", png(number))
        part = "<part><name>head</name></part>"
        write(f"voc/Annotations/{number}.xml", f"<annotation><object><name>{of(number)}</name>{part}</object></annotation>")
    for split, start in (("train", 0), ("val", 4)):
        write(f"voc/ImageSets/Main/{split}.txt", "\n".join(str(number) for number in range(start, start + 4)))


def yolo() -> None:
    for split, start in (("train", 0), ("val", 4)):
        for number in range(start, start + 4):
            write(f"yolo/images/{split}/{number}.png", png(number))
            write(f"yolo/labels/{split}/{number}.txt", f"{number % 2} 0.5 0.5 0.1 0.1\n")
    write("yolo/data.yaml", "train: images/train\nnames: ['cat', 'dog']\n")


def tiny_imagenet() -> None:
    for number in range(4):
        write(f"tiny/train/{of(number)}/images/{number}.png", png(number))
        write(f"tiny/val/images/{number}.png", png(number + 4))
    write("tiny/val/val_annotations.txt", "\n".join(f"{number}.png\t{of(number)}\t0\t0\t9\t9" for number in range(4)))


def archives_of_splits() -> None:
    for split in SPLITS:
        Path("pets").mkdir(exist_ok=True)
        zipped(f"pets/{split}.zip", images("cat", "dog"))


def twice(write_one: Callable[[str, int], None], *paths: str) -> None:
    for at, path in enumerate(paths):
        write_one(path, 4 * at)


def files_by_other_names() -> None:
    for number in range(8):
        ending = (".png", "", ".png?w=500", ".png.1")[number % 4]
        write(f"pets/{CLASSES[number // 4]}/{number}{ending}", png(number))


LAYOUTS: dict[str, tuple[Callable[[], object], Truth]] = {
    "a folder per class": (lambda: folders("pets/cat", "pets/dog", count=4), PLAIN),
    "split folders with a folder per class": (lambda: split_folders("pets/{split}/{label}"), SPLIT),
    "split folders by other names": (
        lambda: split_folders("pets/seg_{split}/seg_{split}/{label}"),
        Truth({"seg_train": 4, "seg_test": 4}, PLAIN.labels),
    ),
    "class folders with a folder per split": (lambda: split_folders("pets/{label}/{split}"), SPLIT),
    "domains, folds or letters above the classes": (
        lambda: folders(*(f"pets/{domain}/{label}" for domain in ("photo", "sketch") for label in CLASSES)),
        PLAIN,
    ),
    "categories above the splits": (
        lambda: folders(*(f"pets/{part}/{split}/{label}" for part in ("nut", "cap") for split in SPLITS for label in CLASSES), count=1),
        SPLIT,
    ),
    "other levels of folders": (
        lambda: folders(*(f"pets/{label}/{site}" for site in ("north", "south") for label in CLASSES)),
        PLAIN,
    ),
    "one folder, no labels": (lambda: folders("pets/images", count=8), Truth({"(none)": 8}, {})),
    "images without an extension": (files_by_other_names, PLAIN),
    "a Hugging Face image folder": (hugging_face, Truth({"train": 8, "test": 8}, {"cat": 8, "dog": 8})),
    "an export of Roboflow for classification": (roboflow, Truth({"train": 8, "test": 8}, {"cat": 8, "dog": 8})),
    "a folder and a table of labels": (kaggle, PLAIN),
    "a CSV or TSV with paths": (
        lambda: table("pets.csv", "path,label,split", lambda n: f",{of(n)},{SPLITS[n // 4]}"),
        SPLIT,
    ),
    "a table without a header": (lambda: table("pets.csv", "", lambda n: f",{of(n)},{SPLITS[n // 4]}"), SPLIT),
    "a table with other column names": (
        lambda: table("pets.csv", "path,breed,phase", lambda n: f",{of(n)},{SPLITS[n // 4]}"),
        SPLIT,
    ),
    "a one-hot table": (lambda: table("pets.csv", "path,cat,dog", lambda n: f",{1 - n % 2},{n % 2}"), PLAIN),
    "a table with lists of labels": (
        lambda: table("pets.csv", "path,label", lambda n: ",\"['cat', 'dog']\"" if n < 2 else f",['{of(n)}']"),
        Truth({"(none)": 8}, {"cat": 5, "dog": 5}),
    ),
    "a table with `is_valid` or `fold`": (
        lambda: table("pets.csv", "path,label,is_valid", lambda n: f",{of(n)},{n >= 4}"),
        Truth({"train": 4, "valid": 4}, PLAIN.labels),
    ),
    "JSON Lines": (
        lambda: [
            write("pets.jsonl", "\n".join(json.dumps({"file_name": f"pets/{n}.png", "label": of(n), "split": SPLITS[n // 4]}) for n in range(8))),
            *(write(f"pets/{n}.png", png(n)) for n in range(8)),
        ],
        SPLIT,
    ),
    "a tar of folders": (lambda: tar("pets.tar", images("train/cat", "train/dog", "test/cat", "test/dog")), SPLIT),
    "a gzipped tar": (lambda: tar("pets.tar.gz", images("train/cat", "train/dog", "test/cat", "test/dog"), "w:gz"), SPLIT),
    "a zip of folders": (lambda: zipped("pets.zip", images("train/cat", "train/dog", "test/cat", "test/dog")), SPLIT),
    "a tar per class": (lambda: [tar(f"pets/{split}/{label}.tar", images(label)) for split in SPLITS for label in CLASSES], SPLIT),
    "a zip per split": (archives_of_splits, SPLIT),
    "WebDataset shards": (lambda: twice(shard, "pets/train-000000.tar", "pets/test-000000.tar"), SPLIT),
    "shards in split folders": (lambda: twice(shard, "pets/train/000000.tar", "pets/test/000000.tar"), SPLIT),
    "Parquet of the Hugging Face Hub": (
        lambda: twice(parquet, "pets/data/train-00000-of-00001.parquet", "pets/data/test-00000-of-00001.parquet"),
        SPLIT,
    ),
    "one Parquet file per split": (lambda: twice(parquet, "pets/train.parquet", "pets/test.parquet"), SPLIT),
    "Arrow files of `save_to_disk`": (lambda: twice(parquet, "pets/train/data-00000-of-00001.arrow", "pets/test/data-00000-of-00001.arrow"), SPLIT),
    "IDX files, as of MNIST": (idx, Truth({"train": 4, "test": 4}, {"0": 4, "1": 4})),
    "Python batches of CIFAR": (cifar, SPLIT),
    "binary batches of CIFAR": (cifar_binary, SPLIT),
    "STL-10": (stl, SPLIT),
    "MATLAB files of arrays": (matlab, Truth({"train": 4, "test": 4}, {"1": 4, "10": 4})),
    "HDF5 files of arrays": (hdf5, Truth({"train": 4, "test": 4}, {"0": 4, "1": 4})),
    "an `.npz` of arrays": (npz, Truth({"train": 4, "test": 4}, {"0": 4, "1": 4})),
    "TFRecord files": (lambda: twice(tfrecord, "pets/train-00000-of-00001.tfrecord", "pets/test-00000-of-00001.tfrecord"), SPLIT),
    "COCO": (coco, Truth({"train2017": 4, "val2017": 4}, PLAIN.labels)),
    "Pascal VOC": (voc, Truth({"train": 4, "val": 4}, PLAIN.labels)),
    "YOLO": (yolo, Truth({"train": 4, "val": 4}, PLAIN.labels)),
    "tiny-imagenet": (tiny_imagenet, Truth({"train": 4, "val": 4}, PLAIN.labels)),
}
"""Datasets by the name of their row in docs/sources.md: what writes it into the working directory, and what it says."""
