"""Label files given by the user: common formats, and our own exports."""

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
def test_reads_common_formats(folder, data):
    assert listed(folder, data) == ({"cat/1.png": "ant", "cat/2.png": "bee", "dog/3.png": "ant"}, [])


def test_several_labels_per_image(folder):
    found, _ = listed(folder, "file,labels\ncat/1.png,ant|bee\ncat/2.png,bee\n")
    assert found == {"cat/1.png": ("ant", "bee"), "cat/2.png": "bee", "dog/3.png": None}


def test_column_options(folder):
    data = "key,note,true\ncat/1.png,x,ant\ncat/2.png,x,bee\n"
    found, _ = listed(folder, data, path_column="key", label_column="true")
    assert found == {"cat/1.png": "ant", "cat/2.png": "bee", "dog/3.png": None}


def test_corrections_keep_labels_of_unlisted_images(folder):
    found, _ = listed(folder, "sample_id,content_id,given_label,label\r\ncat/2.png,00,cat,dog\r\n")
    assert found == {"cat/1.png": "cat", "cat/2.png": "dog", "dog/3.png": "dog"}


def test_finds_non_utf8_names(folder):
    (folder / "cat" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"x")
    found, _ = listed(folder, "sample_id,label\ncat/caf\\xe9.png,ant\n")
    assert found["cat/caf\\xe9.png"] == "ant"
    assert len(found) == 4


def test_reports_label_file_of_another_dataset(folder):
    found, problems = listed(folder, "file,label\nelsewhere.png,ant\n")
    assert set(found.values()) == {None, "ant"}
    assert [(problem.kind, problem.severity) for problem in problems] == [("nothing_found", "error")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"labels\.txt: lists no image"),
        (b"\n \n", r"labels\.txt: lists no image"),
        (b"file,label\n", r"labels\.txt: lists no image"),
        (b"file,label\na.png,ant\nb.png,caf\xe9\n", r"labels\.txt:3: is not UTF-8"),
        (b"a.png ant\nb.png caf\xe9\n", r"labels\.txt:2: is not UTF-8"),
        (b"file,label\na.png\n", r"labels\.txt:2: has no label"),
        (b"file,size\na.png,9\n", r"labels\.txt: has no label column; its columns are file, size; set `label_column`"),
        (b"a.png,ant\na.png,bee\n", r"labels\.txt:2: lists 'a\.png' again with another label"),
    ],
)
def test_errors_name_the_line(folder, data, message):
    with pytest.raises(SourceError, match=message):
        listed(folder, data)


@pytest.mark.parametrize("ending", ["json", "parquet"])
def test_refuses_unsupported_extension(folder, ending):
    path = folder.parent / f"labels.{ending}"
    path.write_text('{"sample_id": "cat/1.png", "label": "ant"}\n')
    source = open_source(str(folder), SourceOptions(labels_file=str(path)))
    with pytest.raises(SourceError, match=f"labels.{ending}: is not a label file, .*; save it as .csv"):
        list(source.collect())
