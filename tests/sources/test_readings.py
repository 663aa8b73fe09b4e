"""How common layouts are read: splits, classes, columns and tables, and which choices the listing reports."""

import io
import json
import tarfile
import zipfile
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from audit.errors import SourceError
from audit.ingest.listing import list_samples
from audit.sources import SourceOptions, open_source


def png(value=0):
    out = io.BytesIO()
    Image.new("RGB", (4, 4), (value % 256, 0, 255 - value % 256)).save(out, "PNG")
    return out.getvalue()


def write(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


def images(*folders, count=2):
    return {f"{folder}/{number}.png".lstrip("/"): png(number) for folder in folders for number in range(count)}


def read(location, **options):
    """Return the counts of splits and labels, the kinds of problems, and the listing."""
    source = open_source(str(location), SourceOptions(**options))
    listing, problems = list_samples(source, lambda _: None)
    rows = listing.to_pylist()
    splits, labels = Counter(row["split"] for row in rows), Counter(tuple(row["labels"]) if row["labels"] else row["label"] for row in rows)
    return dict(splits), dict(labels), {problem.kind: problem for problem in problems}, rows


SCENES = [f"seg_{split}/seg_{split}/{name}" for split in ("train", "test") for name in ("forest", "sea")]


@pytest.mark.parametrize(
    ("folders", "splits", "labels", "reported"),
    [
        ([*SCENES, "seg_pred/seg_pred"], {"seg_train", "seg_test", "seg_pred"}, {"forest", "sea", None}, "info"),
        (["train_images", "test_images"], {"train_images", "test_images"}, {None}, "info"),
        (["train2017", "val2017"], {"train2017", "val2017"}, {None}, "info"),
        (["train/cat", "train/dog", "test1"], {"train", "test1"}, {"cat", "dog", None}, "info"),
        (["night_train", "crash_test"], {"night_train", "crash_test"}, {None}, "warning"),
        (["bullet_train", "steam_train", "car"], {None}, {"bullet_train", "steam_train", "car"}, None),
        (["train/cat", "train/dog", "val/cat", "val/dog", "extra_web/cat"], {"train", "val", "extra_web"}, {"cat", "dog"}, "info"),
        (["art/dog", "art/cat", "art/cow", "photo/dog", "photo/cat", "photo/cow"], {None}, {"dog", "cat", "cow"}, "info"),
        (["fold1/a", "fold1/b", "fold2/a", "fold2/b"], {None}, {"a", "b"}, "info"),
        (["a/abbey", "a/alley", "b/bakery"], {None}, {"abbey", "alley", "bakery"}, "info"),
        (["north/a", "north/b", "north/c", "south/a", "south/b", "south/c"], {None}, {"a", "b", "c"}, "warning"),
        (["cat/left", "cat/right", "dog/left", "dog/right"], {None}, {"cat", "dog"}, "info"),
        (["cat/001", "cat/002", "dog/001", "dog/002"], {None}, {"cat", "dog"}, "info"),
        (["cat/a", "dog/b"], {None}, {"cat", "dog"}, None),
        (["cat/train", "cat/test", "dog/train", "dog/test"], {"train", "test"}, {"cat", "dog"}, "info"),
        (["nut/train/good", "nut/test/bad", "nut/test/good", "cap/train/good", "cap/test/bad"], {"train", "test"}, {"good", "bad"}, "warning"),
        (["JPEGImages"], {None}, {None}, "info"),
        (["images/train", "images/val"], {"train", "val"}, {None}, None),
        (["train/images", "val/images"], {"train", "val"}, {None}, "info"),
        (["pets/train/cat", "pets/val/cat"], {"train", "val"}, {"cat"}, None),
        (["amazon/images/mug", "amazon/images/pen", "dslr/images/mug", "dslr/images/pen"], {None}, {"mug", "pen"}, "info"),
        (["JPEGImages", "SegmentationClass"], {None}, {None}, "warning"),
        (["imagesTr", "imagesTs"], {"imagesTr", "imagesTs"}, {None}, "info"),
        (["cat", "dog"], {None}, {"cat", "dog"}, None),
        (["train", "plane"], {None}, {"train", "plane"}, None),
    ],
)
def test_reads_folders_and_reports_its_choice(tmp_path, folders, splits, labels, reported):
    found = read(write(tmp_path, images(*folders)))
    assert (set(found[0]), set(found[1])) == (splits, labels)
    problem = found[2].get("assumed_layout")
    assert (problem and problem.severity) == reported
    if problem:  # the other reading is an option that works
        other = read(tmp_path, layout=problem.evidence["other"])
        assert (set(other[0]), set(other[1])) != (splits, labels)
        assert "assumed_layout" not in other[2]


def test_upper_level_is_a_column(tmp_path):
    found = read(write(tmp_path, images("art/dog", "art/cat", "photo/dog", "photo/cat")))
    assert {json.loads(row["metadata"])["domain"] for row in found[3]} == {"art", "photo"}
    given = read(tmp_path, layout="style/class")
    assert json.loads(given[3][0]["metadata"]) == {"style": "art"}


def table(tmp_path, text, count=4, **options):
    write(tmp_path, images("", count=count) | {"m.csv": text})
    return read(tmp_path / "m.csv", **options)


def rows(*cells, header="path,label"):
    return "\n".join([header, *(f"{number}.png,{cell}" for number, cell in enumerate(cells))])


@pytest.mark.parametrize(
    ("cells", "labels", "kinds"),
    [
        (["\"['cat', 'dog']\"", "\"['cat']\"", "['dog']", "[]"], {("cat", "dog"): 1, "cat": 1, "dog": 1, None: 1}, set()),
        (["\"['cat' 'dog']\"", "cat", "dog", "dog"], {("cat", "dog"): 1, "cat": 1, "dog": 2}, set()),
        (["0.0", "1.0", "10.0", "nan"], {"0": 1, "1": 1, "10": 1, None: 1}, {"float_labels", "missing_labels"}),
        (["1", "1.0", "2", "None"], {"1": 2, "2": 1, None: 1}, {"float_labels", "missing_labels"}),
        (["1", "01", "2", "2"], {"1": 1, "01": 1, "2": 2}, {"similar_classes"}),
        (["1.5", "2.0", "2.0", "3.5"], {"1.5": 1, "2.0": 2, "3.5": 1}, set()),
        (["None", "cat", "NaN", "cat"], {"None": 1, "cat": 2, None: 1}, {"missing_labels"}),
        (["cat|dog", "cat", "dog", "dog"], {("cat", "dog"): 1, "cat": 1, "dog": 2}, {"joined_labels"}),
        (['"cat, dog"', "cat", "dog", "dog"], {("cat", "dog"): 1, "cat": 1, "dog": 2}, {"joined_labels"}),
        (["cat|dog", "cat", "emu", "emu"], {"cat|dog": 1, "cat": 1, "emu": 2}, set()),
    ],
)
def test_reads_label_cells(tmp_path, cells, labels, kinds):
    found = table(tmp_path, rows(*cells))
    assert (found[1], set(found[2])) == (labels, kinds)


@pytest.mark.parametrize(
    ("header", "cells", "splits"),
    [
        ("path,is_valid", ["True", "False", "False", "0"], {"valid": 1, "train": 3}),
        ("path,is_training_image", ["1", "0", "1", "0"], {"train": 2, "test": 2}),
        ("path,fold", ["0", "1", "1.0", "2"], {"fold 0": 1, "fold 1": 2, "fold 2": 1}),
    ],
)
def test_reads_columns_that_stand_for_splits(tmp_path, header, cells, splits):
    found = table(tmp_path, rows(*cells, header=header))
    assert found[0] == splits
    assert found[2]["assumed_splits"].severity == "info"


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("path,cat,dog\n0.png,1,0\n1.png,0,1\n2.png,0,1\n3.png,1,0\n", {"cat": 2, "dog": 2}),
        ("path,cat,dog\n0.png,1,1\n1.png,0,1\n2.png,0,0\n3.png,1,0\n", {("cat", "dog"): 1, "dog": 1, "cat": 1, None: 1}),
        ("path,width,cat,dog\n0.png,9,1.0,0.0\n1.png,9,0.0,1.0\n2.png,9,0.0,1.0\n3.png,9,1.0,0.0\n", {"cat": 2, "dog": 2}),
        ("path,site,cat,dog\n0.png,x,1,1\n1.png,y,0,1\n2.png,x,0,1\n3.png,x,1,0\n", {None: 4}),
    ],
)
def test_reads_one_hot_columns(tmp_path, text, labels):
    found = table(tmp_path, text)
    assert found[1] == labels
    assert ("one_hot_labels" in found[2]) == (labels != {None: 4})


def test_reads_table_without_header(tmp_path):
    found = table(tmp_path, "0.png,cat,train\n1.png,dog,val\n2.png,cat,val\n3.png,dog,train\n")
    assert found[:2] == ({"train": 2, "val": 2}, {"cat": 2, "dog": 2})
    labels = write(tmp_path, {"l.csv": "image_code,breed\n0.png,cat\n1.png,dog\n2.png,cat\n3.png,dog\n"}) / "l.csv"
    assert read(tmp_path, labels_file=str(labels))[1] == {"cat": 2, "dog": 2}
    labels.write_text("code,width,breed\n0.png,9,cat\n")
    with pytest.raises(SourceError, match="has no column with a usual name for labels; its columns are code, width, breed; set"):
        read(tmp_path, labels_file=str(labels))


def split_tables(names="{}"):
    files = images("train", "test", count=4)
    for split, labels in (("train", "ab"), ("test", "ba")):
        files[f"{split}/metadata.csv"] = "\n".join(["file_name,label", *(f"{number}.png,{labels[number % 2]}" for number in range(4))])
    return files


def test_labels_of_one_split_are_never_given_to_another(tmp_path):
    write(tmp_path, split_tables())
    found = read(tmp_path, labels_file=str(tmp_path / "train" / "metadata.csv"))
    assert {row["sample_id"]: row["label"] for row in found[3]} == {f"train/{n}.png": "ab"[n % 2] for n in range(4)} | {
        f"test/{n}.png": None for n in range(4)
    }
    assert found[2]["unlisted_images"].evidence == {"entries": 4}
    elsewhere = write(tmp_path / "elsewhere", {"l.csv": (tmp_path / "train" / "metadata.csv").read_text()}) / "l.csv"
    (tmp_path / "set").mkdir()
    for split in ("train", "test"):
        (tmp_path / split).rename(tmp_path / "set" / split)
    found = read(tmp_path / "set", labels_file=str(elsewhere))
    assert found[1] == {None: 8}
    assert found[2]["ambiguous_names"].evidence == {"entries": 8}


def test_standard_tables_of_every_split_are_read(tmp_path):
    found = read(write(tmp_path, split_tables()))
    assert {row["sample_id"]: row["label"] for row in found[3]} == {f"train/{n}.png": "ab"[n % 2] for n in range(4)} | {
        f"test/{n}.png": "ba"[n % 2] for n in range(4)
    }
    assert "labels_from_tables" in found[2]


def test_reads_tables_of_roboflow(tmp_path):
    classes = "filename, cat, dog\n0.png, 1, 0\n1.png, 0, 1\n"
    found = read(write(tmp_path, images("train", "valid") | {f"{split}/_classes.csv": classes for split in ("train", "valid")}))
    assert found[:2] == ({"train": 2, "valid": 2}, {"cat": 2, "dog": 2})


def test_other_tables_and_annotations_are_offered(tmp_path):
    files = images("train", count=3) | {"train.csv": "image_id,label\n0,cat\n1,dog\n2,cat\n", "notes.csv": "a,b\n1,2\n"}
    found = read(write(tmp_path / "kaggle", files))
    assert found[1] == {None: 3}
    problem = found[2]["unused_labels"]
    assert "train.csv lists 3 of them; pass --labels" in problem.message
    assert read(tmp_path / "kaggle", labels_file=problem.evidence["names"][0])[1] == {"cat": 2, "dog": 1}
    voc = images("JPEGImages", count=3) | {f"Annotations/{number}.xml": "<annotation/>" for number in range(3)}
    assert "pass --kind voc" in read(write(tmp_path / "voc", voc))[2]["unused_labels"].message


@pytest.mark.parametrize("name", ["1", "1.png?w=500", "1.png.1", "1.dat", "1 (2).png.3"])
def test_reads_images_by_other_names(tmp_path, name):
    found = read(write(tmp_path, {"cat/0.png": png(), f"dog/{name}": png(1), "dog/README": "text", "dog/x.bin": b"\0\1\2"}))
    assert found[1] == {"cat": 1, "dog": 1}
    assert found[2]["other_names"].evidence == {"entries": 1}


def test_archives_next_to_images_are_reported(tmp_path):
    found = read(write(tmp_path, images("cat", "dog") | {"more.zip": b"PK", "clip.mp4": b"x"}))
    assert found[2]["unread_containers"].evidence == {"entries": 2}


def parquet(path, labels, start=0, names=("cat", "dog")):
    features = {"info": {"features": {"label": {"names": list(names), "_type": "ClassLabel"}}}}
    image = pa.array([{"bytes": png(start + number), "path": None} for number in range(len(labels))])
    path.parent.mkdir(parents=True, exist_ok=True)
    found = pa.table({"image": image, "label": pa.array(labels)}).replace_schema_metadata({"huggingface": json.dumps(features)})
    if path.suffix == ".arrow":
        with pa.ipc.new_stream(path, found.schema) as stream:
            stream.write_table(found, max_chunksize=2)
    else:
        pq.write_table(found, path)


@pytest.mark.parametrize(
    "files",
    [
        ("train.parquet", "test.parquet"),
        ("data/pets_train_0.parquet", "data/pets_test_0.parquet"),
        ("default/train/0000.parquet", "default/test/0000.parquet"),
        ("train/data-00000-of-00001.arrow", "test/data-00000-of-00001.arrow"),
    ],
)
def test_reads_splits_of_tables_from_their_names(tmp_path, files):
    for name in files:
        parquet(tmp_path / name, [0, 1, 1])
    (tmp_path / "README.md").write_text("about")
    found = read(tmp_path)
    assert found[:2] == ({"train": 3, "test": 3}, {"cat": 2, "dog": 4})
    source = open_source(str(tmp_path))
    assert {source.read(sample.source_ref) for sample in source.collect()} == {png(number) for number in range(3)}


def test_class_numbers_without_a_name_are_kept_and_reported(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1, 7, -1])
    found = read(tmp_path)
    assert found[1] == {"cat": 1, "dog": 1, "7": 1, None: 1}
    assert found[2]["unknown_class_numbers"].evidence == {"entries": 1}


def shard(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def test_reads_shards_whose_keys_have_dots(tmp_path):
    files = {}
    for number in range(4):
        files |= {f"7.{number}.png": png(number), f"7.{number}.cls": b"%d" % (number % 2)}
    shard(tmp_path / "train-000.tar", files)
    found = read(tmp_path / "train-000.tar")
    assert found[:2] == ({"train": 4}, {"0": 2, "1": 2})
    shard(tmp_path / "train-000.tar", {"1.png": png(), "1.cls": b"0", "2.x.cls": b"1", "2.y.png": png(1)})
    assert read(tmp_path / "train-000.tar")[2]["unmatched_labels"].evidence == {"entries": 1}


def test_reads_shards_in_split_folders(tmp_path):
    for split in ("train", "val"):
        shard(tmp_path / split / "000.tar", {"1.png": png(), "1.cls": b"0"})
    assert read(tmp_path)[:2] == ({"train": 1, "val": 1}, {"0": 2})


def test_reads_a_tar_per_class(tmp_path):
    for split in ("train", "val"):
        for label in ("cat", "dog"):
            shard(tmp_path / split / f"{label}.tar", {f"{split}{number}.png": png(number) for number in range(3)})
    found = read(tmp_path)
    assert found[:2] == ({"train": 6, "val": 6}, {"cat": 6, "dog": 6})
    source = open_source(str(tmp_path))
    assert {source.read(sample.source_ref) for sample in source.collect()} == {png(number) for number in range(3)}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_reads_zip_in_place(tmp_path, method):
    files = images("train/cat", "train/dog", "val/cat")
    with zipfile.ZipFile(tmp_path / "pets.zip", "w", method) as archive:
        for name, data in files.items():
            archive.writestr(f"pets/{name}", data)
        archive.writestr("../out.png", png())
    source = open_source(str(tmp_path / "pets.zip"))
    samples = list(source.collect())
    assert {sample.sample_id: source.read(sample.source_ref) for sample in samples} == files
    assert {(sample.split, sample.label) for sample in samples} == {("train", "cat"), ("train", "dog"), ("val", "cat")}
    assert source.ignored == {"(unsafe path)": 1}
    damaged = bytearray((tmp_path / "pets.zip").read_bytes())
    at = damaged.find(b"IDAT" if method == zipfile.ZIP_STORED else b"pets/train/cat/0.png") + 24
    damaged[at] ^= 0xFF
    (tmp_path / "pets.zip").write_bytes(damaged)
    (corrupt,) = (sample for sample in source.collect() if sample.sample_id == "train/cat/0.png")
    with pytest.raises(OSError, match="is corrupt"):
        source.read(corrupt.source_ref)


def test_refuses_zip_without_members(tmp_path):
    zipfile.ZipFile(tmp_path / "a.zip", "w").close()
    with pytest.raises(SourceError, match="is a zip without members"):
        read(tmp_path / "a.zip")


def test_links_of_git_annex_are_named(tmp_path):
    write(tmp_path, images("cat", "dog"))
    for number in range(3):
        (tmp_path / "dog" / f"x{number}.png").symlink_to("../.git/annex/objects/aa/SHA256E-s1--00.png")
    found = read(tmp_path)
    assert found[2]["not_fetched"].evidence == {"entries": 3}
    assert found[2]["not_fetched"].message.endswith("run git annex get.")


def test_text_files_of_labels_are_offered(tmp_path):
    files = images("images", count=3) | {"labels.txt": "0.png cat\n1.png dog\n2.png cat\n", "README.txt": "About these images\n"}
    found = read(write(tmp_path, files))
    assert "labels.txt lists 3 of them; pass --labels" in found[2]["unused_labels"].message


def test_zip_member_larger_than_any_image_is_not_decompressed(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cat/1.png", bytes(10_000))
    monkeypatch.setattr("audit.sources.zip._MOST_BYTES", 9_999)
    source = open_source(str(tmp_path / "a.zip"))
    (sample,) = source.collect()
    with pytest.raises(OSError, match="has 10,000 bytes, more than any image"):
        source.read(sample.source_ref)


@pytest.mark.parametrize(
    ("names", "offered"),
    [
        (["cat.0", "cat.1", "dog.0", "dog.1"], ["cat", "dog"]),
        (["golden_retriever_1", "golden_retriever_2", "pug_1", "pug_2"], ["golden_retriever", "pug"]),
        (["IMG_1", "IMG_2", "IMG_3"], None),
        (["train_1", "train_2", "test_1", "test_2"], None),
        (["2007_1", "2007_2"], None),
        (["a1", "b1", "c1"], None),
    ],
)
def test_classes_in_file_names_are_offered(tmp_path, names, offered):
    found = read(write(tmp_path, {f"train/{name}.png": png() for name in names}))
    assert found[1] == {None: len(names)}
    assert (found[2]["unused_labels"].evidence["names"] if "unused_labels" in found[2] else None) == offered
