"""Tables of images: their columns, labels and splits, wherever the table and its images are."""

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit.errors import SourceError
from audit.listing import list_samples
from audit.sources import SourceOptions, open_source


def listed(source):
    return {sample.sample_id: sample for sample in source.collect()}


def write(path, text):
    path.write_text(text)
    return str(path)


def test_a_parquet_manifest_keeps_further_columns_as_metadata(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    pq.write_table(pa.table({"file": ["a.jpg", "./b.jpg"], "class": ["ant", None], "site": ["north", ""], "age": [3, 4]}), tmp_path / "m.parquet")
    found = listed(open_source(str(tmp_path / "m.parquet")))
    assert {name: (sample.label, dict(sample.metadata)) for name, sample in found.items()} == {
        "a.jpg": ("ant", {"site": "north", "age": 3}),
        "b.jpg": (None, {"age": 4}),
    }
    assert found["b.jpg"].fingerprint == "missing"


@pytest.mark.parametrize("cell", ['"[""cat"", ""dog""]"', "cat|dog", "cat; dog"])
def test_several_labels_of_one_image(tmp_path, cell):
    found = listed(open_source(write(tmp_path / "m.csv", f"path,labels\na.jpg,{cell}\nb.jpg,cat\n")))
    assert (found["a.jpg"].label, found["a.jpg"].labels) == (None, ("cat", "dog"))
    assert (found["b.jpg"].label, found["b.jpg"].labels) == ("cat", None)


def test_a_misspelt_split_names_its_line_and_the_nearest(tmp_path):
    table = write(tmp_path / "m.csv", "path,split\na.jpg,train\nb.jpg,val\nc.jpg,vaal\n")
    with pytest.raises(SourceError, match=r"m\.csv:4: unknown split 'vaal'; splits are train, val; did you mean 'val'"):
        listed(open_source(table))


@pytest.mark.parametrize("names", [("train", "train2"), ("fold-a", "fold-b"), ("north", "south"), ("train", "calibration"), ("trainA", "trainB")])
def test_splits_may_be_called_anything(tmp_path, names):
    table = write(tmp_path / "m.csv", "path,split\n" + "".join(f"{name}.jpg,{name}\n" for name in names))
    assert {sample.split for sample in listed(open_source(table)).values()} == set(names)


def test_an_image_listed_twice_names_both_lines(tmp_path):
    table = write(tmp_path / "m.csv", "path,label\na.jpg,ant\nb.jpg,bee\n./a.jpg,bee\n")
    with pytest.raises(SourceError, match=r"share the id 'a\.jpg': .*m\.csv:2 and .*m\.csv:4"):
        list_samples(open_source(table), lambda _: None)


def test_a_remote_manifest_asks_for_folders_not_for_images(monkeypatch):
    files = fsspec.filesystem("memory")
    rows = [f"{folder}/{i}.jpg" for folder in ("cat", "dog") for i in range(20)]
    for row in rows:
        files.pipe_file(f"/remote-manifest/{row}", row.encode())
    files.pipe_file("/remote-manifest/m.csv", "\n".join(["path,label", *(f"{row},{row[:3]}" for row in [*rows, "dog/gone.jpg"])]).encode())
    asked = []
    info = type(files).info
    monkeypatch.setattr(type(files), "info", lambda self, path, **more: asked.append(path) or info(self, path, **more))
    source = open_source("memory://remote-manifest/m.csv")
    found = listed(source)
    assert len(found) == 41
    assert found["dog/gone.jpg"].fingerprint == "missing"
    assert source.read(found["cat/3.jpg"].source_ref) == b"cat/3.jpg"
    assert len({sample.fingerprint for sample in found.values()}) > 2
    assert len(asked) < len(rows), "one request per image takes hours on a million images"
    files.rm("/remote-manifest", recursive=True)


def test_a_column_of_images_that_is_not_there_names_the_nearest(tmp_path):
    pq.write_table(pa.table({"image": [b"x"], "label": ["ant"]}), tmp_path / "m.parquet")
    with pytest.raises(SourceError, match="has no column 'imag'; its columns are image, label; did you mean 'image'"):
        open_source(str(tmp_path / "m.parquet"), SourceOptions(image_column="imag"))
