"""Files of labels that the user names: as people and programs write them, and as our own exports are."""

import os

import pytest

from audit.errors import SourceError
from audit.sources import SourceOptions, open_source


@pytest.fixture
def folder(tmp_path):
    for name in ("cat/1.png", "cat/2.png", "dog/3.png"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(b"x")
    return tmp_path / "set"


def listed(folder, data, **options):
    path = folder.parent / "labels.txt"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    source = open_source(str(folder), SourceOptions(labels_file=str(path), **options))
    return {sample.sample_id: sample.labels or sample.label for sample in source.collect()}, source.problems


@pytest.mark.parametrize(
    "data",
    [
        "cat/1.png ant\ncat/2.png bee\ndog/3.png ant\n",
        "cat/1.png\tant\ncat/2.png\tbee\ndog/3.png\tant\n",
        "cat/1.png;ant\ncat/2.png;bee\ndog/3.png;ant\n",
        "file, label\ncat/1.png, ant\n./cat/2.png, bee\n\n3.png, ant\n",
        "sample_id;label\ncat/1.png;ant\ncat/2.png;bee\ndog/3.png;ant\n",
        "file label\ncat/1.png ant\ncat/2.png bee\ndog/3.png ant\n",
        "file,label\ncat\\1.png,ant\ncat\\2.png,bee\ndog\\3.png,ant\n",
        "file\tlabel\ncat/1.png\tant\ncat/2.png\tbee\ndog/3.png\tant\n".encode("utf-16"),
        "ImageId,PredictionString\n1,ant 1 2 3 4\n2,bee 1 2 3 4\n3,ant 1 2 3 4\n",
    ],
    ids=["spaces", "tabs", "semicolons", "spaced", "exported", "titled", "backslashes", "utf-16", "kaggle"],
)
def test_label_files_are_read_as_people_write_them(folder, data):
    assert listed(folder, data) == ({"cat/1.png": "ant", "cat/2.png": "bee", "dog/3.png": "ant"}, [])


def test_several_labels_of_one_image(folder):
    found, _ = listed(folder, "file,labels\ncat/1.png,ant|bee\ncat/2.png,bee\n")
    assert found == {"cat/1.png": ("ant", "bee"), "cat/2.png": "bee", "dog/3.png": None}


def test_columns_of_a_label_file_can_be_named(folder):
    data = "key,said,true\ncat/1.png,x,ant\ncat/2.png,x,bee\n"
    found, _ = listed(folder, data, path_column="key", label_column="true")
    assert found == {"cat/1.png": "ant", "cat/2.png": "bee", "dog/3.png": None}


def test_corrections_leave_other_images_their_labels(folder):
    found, _ = listed(folder, "sample_id,content_id,given_label,label\r\ncat/2.png,00,cat,dog\r\n")
    assert found == {"cat/1.png": "cat", "cat/2.png": "dog", "dog/3.png": "dog"}


def test_names_of_any_bytes_are_found(folder):
    (folder / "cat" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"x")
    found, _ = listed(folder, "sample_id,label\ncat/caf\\xe9.png,ant\n")
    assert found["cat/caf\\xe9.png"] == "ant"
    assert len(found) == 4


def test_a_label_file_of_another_dataset_is_told(folder):
    found, problems = listed(folder, "file,label\nelsewhere.png,ant\n")
    assert set(found.values()) == {None, "ant"}
    assert [(problem.kind, problem.severity) for problem in problems] == [("nothing_found", "error")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"labels\.txt: names no image"),
        (b"\n \n", r"labels\.txt: names no image"),
        (b"file,label\n", r"labels\.txt: names no image"),
        (b"file,label\na.png,ant\nb.png,caf\xe9\n", r"labels\.txt:3: is not UTF-8"),
        (b"a.png ant\nb.png caf\xe9\n", r"labels\.txt:2: is not UTF-8"),
        (b"file,label\na.png\n", r"labels\.txt:2: has no label"),
        (b"file,size\na.png,9\n", r"labels\.txt: has no column of labels; its columns are file, size; name the right one with `label_column`"),
        (b"a.png,ant\na.png,bee\n", r"labels\.txt:2: names 'a\.png' a second time"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(folder, data, message):
    with pytest.raises(SourceError, match=message):
        listed(folder, data)


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
def test_a_list_in_a_format_that_is_not_read_is_refused_by_its_ending(folder, ending):
    path = folder.parent / f"labels.{ending}"
    path.write_text('{"sample_id": "cat/1.png", "label": "ant"}\n')
    source = open_source(str(folder), SourceOptions(labels_file=str(path)))
    with pytest.raises(SourceError, match=f"labels.{ending}: is no file of labels: .*; write it as .csv"):
        list(source.collect())
