"""Manifests: their columns, labels and splits, local and remote."""

import json
import math
import os

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit.errors import SourceError
from audit.ingest.listing import list_samples
from audit.sources import SourceOptions, open_source


def listed(source):
    return {sample.sample_id: sample for sample in source.collect()}


def write(path, text):
    path.write_text(text)
    return str(path)


def test_parquet_manifest_keeps_other_columns_as_metadata(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    pq.write_table(pa.table({"file": ["a.jpg", "./b.jpg"], "class": ["ant", None], "site": ["north", ""], "age": [3, 4]}), tmp_path / "m.parquet")
    found = listed(open_source(str(tmp_path / "m.parquet")))
    assert {name: (sample.label, dict(sample.metadata)) for name, sample in found.items()} == {
        "a.jpg": ("ant", {"site": "north", "age": 3}),
        "b.jpg": (None, {"age": 4}),
    }
    assert found["b.jpg"].fingerprint == "missing"


@pytest.mark.parametrize("cell", ['"[""cat"", ""dog""]"', "cat|dog", "cat; dog"])
def test_several_labels_per_image(tmp_path, cell):
    found = listed(open_source(write(tmp_path / "m.csv", f"path,labels\na.jpg,{cell}\nb.jpg,cat\n")))
    assert (found["a.jpg"].label, found["a.jpg"].labels) == (None, ("cat", "dog"))
    assert (found["b.jpg"].label, found["b.jpg"].labels) == ("cat", None)


def test_misspelt_split_names_its_line_and_the_nearest(tmp_path):
    table = write(tmp_path / "m.csv", "path,split\na.jpg,train\nb.jpg,val\nc.jpg,vaal\n")
    with pytest.raises(SourceError, match=r"m\.csv:4: unknown split 'vaal'; splits are train, val; did you mean 'val'"):
        listed(open_source(table))


@pytest.mark.parametrize("names", [("train", "train2"), ("fold-a", "fold-b"), ("north", "south"), ("train", "calibration"), ("trainA", "trainB")])
def test_split_names_are_free(tmp_path, names):
    table = write(tmp_path / "m.csv", "path,split\n" + "".join(f"{name}.jpg,{name}\n" for name in names))
    assert {sample.split for sample in listed(open_source(table)).values()} == set(names)


def test_refuses_contradicting_labels_with_both_lines(tmp_path):
    table = write(tmp_path / "m.csv", "path,label\na.jpg,ant\nb.jpg,bee\n./a.jpg,bee\n")
    with pytest.raises(SourceError, match=r"lists 'a\.jpg' with two different labels \(.*m\.csv:2, .*m\.csv:4\); keep one"):
        list_samples(open_source(table), lambda _: None)


@pytest.mark.parametrize("column", ["split", "labels"])
def test_refuses_contradicting_splits_or_label_sets(tmp_path, column):
    table = write(tmp_path / "m.csv", f"path,{column}\na.jpg,train|val\na.jpg,val|train\n")
    with pytest.raises(SourceError, match=f"with two different {column.removesuffix('s')}s"):
        list_samples(open_source(table), lambda _: None)


def test_repeated_row_counts_once(tmp_path):
    table = write(tmp_path / "m.csv", "path,label,note\na.jpg,ant,x\nb.jpg,bee,y\n./a.jpg,ant,z\na.jpg,ant,last\n")
    listing, problems = list_samples(open_source(table), lambda _: None)
    assert listing["sample_id"].to_pylist() == ["a.jpg", "b.jpg"]
    assert listing["metadata"][0].as_py() == '{"note": "last"}'
    (repeated,) = (problem for problem in problems if problem.kind == "listed_twice")
    assert repeated.evidence == {"entries": 2}


@pytest.mark.parametrize("names", [("Cat", "cat", "cat "), ("caf\u00e9", "cafe\u0301"), ("black  bird", "black bird")])
def test_reports_similar_class_names(tmp_path, names):
    rows = {"path": [f"{number}.jpg" for number in range(len(names) + 1)], "label": [*names, "dog"]}
    pq.write_table(pa.table(rows), tmp_path / "m.parquet")
    _, problems = list_samples(open_source(str(tmp_path / "m.parquet")), lambda _: None)
    assert [problem.evidence for problem in problems if problem.kind == "similar_classes"] == [{"names": [sorted(names)]}]


def test_different_class_names_are_not_reported(tmp_path):
    table = write(tmp_path / "m.csv", "path,label,split\na.jpg,black bird,train\nb.jpg,blackbird,Train\n")
    _, problems = list_samples(open_source(table), lambda _: None)
    assert {problem.kind for problem in problems} == {"similar_splits", "nothing_found"}


@pytest.mark.parametrize(("one", "other", "reported"), [("val", "Validation", True), ("train", "train_set", True), ("val", "test", False)])
def test_reports_two_names_of_one_split(tmp_path, one, other, reported):
    table = write(tmp_path / "m.csv", f"path,split\na.jpg,{one}\nb.jpg,{other}\nc.jpg,extra\n")
    _, problems = list_samples(open_source(table), lambda _: None)
    found = [problem.evidence for problem in problems if problem.kind == "similar_splits"]
    assert found == [{"names": [sorted([one, other])]}] * reported


@pytest.mark.parametrize(("column", "expected"), [("label", ["bird;cat; dog", "cat|dog"]), ("class", ["bird;cat; dog", "cat|dog"]), ("labels", [])])
def test_reports_joined_labels_whose_parts_are_classes(tmp_path, column, expected):
    cells = ["cat", "dog", "bird", "cat|dog", '"bird;cat; dog"', "cat|fish", "cat|"]
    table = write(tmp_path / "m.csv", "\n".join([f"path,{column}", *(f"{number}.jpg,{cell}" for number, cell in enumerate(cells))]))
    _, problems = list_samples(open_source(table), lambda _: None)
    assert [problem.evidence["names"] for problem in problems if problem.kind == "joined_labels"] == [expected] * bool(expected)


def test_remote_manifest_lists_folders_instead_of_images(monkeypatch):
    files = fsspec.filesystem("memory")
    rows = [f"{folder}/{i}.jpg" for folder in ("cat", "dog") for i in range(20)]
    for row in rows:
        files.pipe_file(f"/remote-manifest/{row}", row.encode())
    files.pipe_file("/remote-manifest/m.csv", "\n".join(["path,label", *(f"{row},{row[:3]}" for row in [*rows, "dog/gone.jpg"])]).encode())
    requests = []
    info = type(files).info
    monkeypatch.setattr(type(files), "info", lambda self, path, **more: requests.append(path) or info(self, path, **more))
    source = open_source("memory://remote-manifest/m.csv")
    found = listed(source)
    assert len(found) == 41
    assert found["dog/gone.jpg"].fingerprint == "missing"
    assert source.read(found["cat/3.jpg"].source_ref) == b"cat/3.jpg"
    assert len({sample.fingerprint for sample in found.values()}) > 2
    assert len(requests) < len(rows), "one request per image takes hours on a million images"
    files.rm("/remote-manifest", recursive=True)


def test_missing_package_of_a_url_scheme():
    fsspec.register_implementation("uninstalled", "no_such_package.FileSystem", errtxt="Install no-such-package", clobber=True)
    with pytest.raises(SourceError, match=r"uninstalled://m\.csv: cannot be opened \(Install no-such-package\); install the packages"):
        open_source("uninstalled://m.csv")


def test_missing_image_column_names_the_nearest(tmp_path):
    pq.write_table(pa.table({"image": [b"x"], "label": ["ant"]}), tmp_path / "m.parquet")
    with pytest.raises(SourceError, match="has no column 'imag'; its columns are image, label; did you mean 'image'"):
        open_source(str(tmp_path / "m.parquet"), SourceOptions(image_column="imag"))


def images(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


ROWS = [("cat/1.jpg", "cat", "train"), ("dog/2.jpg", "dog", "val")]


@pytest.mark.parametrize("separator", [",", ", ", " ,", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_reads_common_delimiters_and_encodings(tmp_path, separator, encoding):
    images(tmp_path, *(name for name, *_ in ROWS))
    lines = [separator.join(cells) for cells in [("path", "label", "split"), *ROWS]]
    (tmp_path / "m.csv").write_bytes("\r\n".join([*lines, separator * 2, ""]).encode(encoding))
    source = open_source(str(tmp_path / "m.csv"))
    found = listed(source)
    assert {(name, sample.label, sample.split) for name, sample in found.items()} == set(ROWS)
    assert "missing" not in {sample.fingerprint for sample in found.values()}
    assert source.problems == []


def test_finds_name_with_surrounding_spaces(tmp_path):
    images(tmp_path, " a.jpg")
    found = listed(open_source(write(tmp_path / "m.csv", "path,label\n a.jpg,ant\n b.jpg,bee\n")))
    assert {name: sample.fingerprint == "missing" for name, sample in found.items()} == {" a.jpg": False, "b.jpg": True}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "m.csv: is empty; add a first line with the column names"),
        (b"path,label\na.jpg,ant\nb.jpg,caf\xe9\n", "m.csv:3: is not UTF-8; save it as CSV UTF-8"),
        (b"path,caf\xe9\na.jpg,ant\n", "m.csv:1: is not UTF-8; save it as CSV UTF-8"),
        ("path,label\na.jpg,ant\n".encode("utf-16-le"), "m.csv:1: is not text: it contains NUL bytes; save it as CSV UTF-8"),
        (b"where,label\na.jpg,ant\n", "m.csv: has no path column; its columns are where, label; set `path_column`"),
    ],
)
def test_refuses_invalid_table_with_its_line(tmp_path, data, message):
    (tmp_path / "m.csv").write_bytes(data)
    with pytest.raises(SourceError) as caught:
        listed(open_source(str(tmp_path / "m.csv")))
    assert str(caught.value).endswith(message)


def test_missing_column_is_reported_once(tmp_path):
    table = write(tmp_path / "m.csv", "path,label\na.jpg,ant\n")
    with pytest.raises(SourceError) as caught:
        listed(open_source(table, SourceOptions(path_column="where")))
    assert str(caught.value) == f"{table}: has no column 'where'; its columns are path, label"


def test_finds_non_utf8_names(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    (tmp_path / name).write_bytes(b"x")
    for written in (b"caf\xe9.jpg", b"caf\\xe9.jpg"):
        (tmp_path / "m.csv").write_bytes(b"path,label\n" + written + b",ant\n")
        source = open_source(str(tmp_path / "m.csv"))
        (sample,) = source.collect()
        assert (sample.sample_id, source.read(sample.source_ref)) == ("caf\\xe9.jpg", b"x")


def test_backslashes_are_read_as_slashes_if_the_file_exists(tmp_path):
    images(tmp_path, "cat/1.jpg", "cat/od\\d.jpg")
    source = open_source(write(tmp_path / "m.csv", "path,label\ncat\\1.jpg,cat\ncat/od\\d.jpg,cat\n"))
    assert {name: sample.fingerprint == "missing" for name, sample in listed(source).items()} == {"cat/1.jpg": False, "cat/od\\d.jpg": False}
    assert [(problem.kind, problem.severity, problem.evidence) for problem in source.problems] == [("backslashes", "info", {"entries": 1})]


def test_reports_table_in_the_wrong_folder(tmp_path):
    images(tmp_path / "data", "1.jpg")
    source = open_source(write(tmp_path / "m.csv", "path,label\n1.jpg,cat\n"))
    assert [sample.fingerprint for sample in source.collect()] == ["missing"]
    assert [(problem.kind, problem.severity) for problem in source.problems] == [("nothing_found", "error")]
    source = open_source(write(tmp_path / "data" / "m.csv", "path,label\n1.jpg,cat\n2.jpg,cat\n"))
    assert len(list(source.collect())) == 2
    assert source.problems == []


def test_skips_and_reports_row_without_a_path(tmp_path):
    images(tmp_path, "1.jpg")
    source = open_source(write(tmp_path / "m.csv", "path,label\n1.jpg,cat\n,dog\n"))
    assert list(listed(source)) == ["1.jpg"]
    assert source.ignored == {"(no path)": 1}
    assert [problem.kind for problem in source.problems] == ["no_path"]
    assert "m.csv:3" in source.problems[0].message


def test_refuses_folder_or_missing_file_as_manifest(tmp_path):
    with pytest.raises(SourceError, match="is a folder, but a manifest source is a single file"):
        open_source(str(tmp_path), SourceOptions(kind="manifest"))
    with pytest.raises(SourceError, match="no such file"):
        open_source(str(tmp_path / "m.csv"), SourceOptions(kind="manifest"))


@pytest.mark.parametrize(("header", "expected"), [("path,lable", ["lable"]), ("path,split", None), ("path,label", None)])
def test_reports_columns_that_may_contain_labels(tmp_path, header, expected):
    images(tmp_path, "1.jpg")
    source = open_source(write(tmp_path / "m.csv", f"{header}\n1.jpg,cat\n"))
    listed(source)
    assert [(problem.kind, problem.evidence["names"]) for problem in source.problems] == [("no_label_column", expected)] * bool(expected)


def test_missing_label_column_of_shards_is_reported_once(tmp_path):
    for name in ("train-00000-of-00002.parquet", "train-00001-of-00002.parquet"):
        pq.write_table(pa.table({"img": [b"\x89PNG"], "fine_label": [3]}), tmp_path / name)
    source = open_source(str(tmp_path))
    assert len(listed(source)) == 2
    assert [(problem.kind, problem.evidence) for problem in source.problems] == [("no_label_column", {"names": ["fine_label"]})]


def lines(path, *rows):
    return write(path, "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))


def test_reads_hugging_face_json_lines(tmp_path):
    images(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    rows = [
        {"file_name": "a.jpg", "label": 3, "boxes": [[1, 2], {"x": None}], "site": None},
        "",
        {"file_name": "b.jpg", "label": ["cat", "dog"], "split": "train", "depth": math.nan},
        {"file_name": "c.jpg", "label": None, "split": ""},
        {"file_name": "d.jpg"},
    ]
    source = open_source(lines(tmp_path / "metadata.jsonl", *rows))
    assert {name: (sample.label, sample.labels, sample.split, dict(sample.metadata)) for name, sample in listed(source).items()} == {
        "a.jpg": ("3", None, None, {"boxes": [[1, 2], {"x": None}]}),
        "b.jpg": (None, ("cat", "dog"), "train", {}),
        "c.jpg": (None, None, None, {}),
        "d.jpg": (None, None, None, {}),
    }
    assert source.read("a.jpg") == b"x"
    assert source.problems == []


def test_json_lines_use_columns_missing_from_the_first_line(tmp_path):
    table = lines(tmp_path / "m.jsonl", {"site": "north"}, {"path": "a.jpg"}, {"path": "b.jpg", "kind": "ant", "part": "val"})
    source = open_source(table, SourceOptions(label_column="kind", split_column="part"))
    assert {name: (sample.label, sample.split) for name, sample in listed(source).items()} == {"a.jpg": (None, None), "b.jpg": ("ant", "val")}
    assert "m.jsonl:1" in next(problem for problem in source.problems if problem.kind == "no_path").message
    with pytest.raises(SourceError, match="has no column 'knd'; its columns are site, path, kind, part; did you mean 'kind'"):
        listed(open_source(table, SourceOptions(label_column="knd")))


@pytest.mark.parametrize("row", [{"pth": "b.jpg"}, {"path": None}, {"path": {"name": "b.jpg"}}, {"path": 7}])
def test_skips_json_line_without_a_path(tmp_path, row):
    source = open_source(lines(tmp_path / "m.jsonl", {"path": "a.jpg"}, row))
    assert list(listed(source)) == ["a.jpg"]
    assert [problem.message for problem in source.problems if problem.kind == "no_path" and "m.jsonl:2" in problem.message]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"path": "b.jpg",}', r"is not valid JSON: .* at character 1\d; write one object on each line"),
        ('["b.jpg", "ant"]', r"is not a JSON object: '\[\"b\.jpg"),
        ("[" * 100_000, "is not valid JSON: nested too deeply"),
        ('{"path": "b.jpg", "label": "\\ud800"}', "is not UTF-8"),
        (b"{'path': 'caf\xe9.jpg'}", "is not UTF-8"),
        (
            '{"path": "b.jpg", "label": {"id": 3}}',
            r"the label in column 'label' is not text, a number or a list of them: \{'id': 3\}; .*`label_column`",
        ),
        ('{"path": "b.jpg", "label": [["ant"]]}', "the label in column 'label' is not text"),
        ('{"path": "b.jpg", "split": ["val"]}', r"the split in column 'split' is not text or a number: \['val'\]"),
        ('{"path": "b.jpg", "split": "trian"}', "unknown split 'trian'.* did you mean 'train'"),
    ],
)
def test_refuses_invalid_json_line_with_its_number(tmp_path, line, message):
    table = tmp_path / "m.jsonl"
    table.write_bytes(b'\xef\xbb\xbf{"path": "a.jpg", "split": "train"}\r\n\r\n' + (line if isinstance(line, bytes) else line.encode()) + b"\n")
    with pytest.raises(SourceError, match=rf"m\.jsonl:3: {message}"):
        listed(open_source(str(table)))


def test_refuses_record_as_label_in_parquet(tmp_path):
    pq.write_table(pa.table({"path": ["a.jpg"], "label": [{"id": 3}]}), tmp_path / "m.parquet")
    with pytest.raises(SourceError, match="row 0: the label in column 'label' is not text"):
        listed(open_source(str(tmp_path / "m.parquet")))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["1.jpg,cat", ",dog"], "1 row without a path: "),
        (["1.jpg,cat", ",dog", ",dog"], "2 rows without a path: "),
        (["a\\1.jpg,cat"], "1 path of "),
        (["1.jpg,cat", "1.jpg,cat"], "1 entry of "),
        (["1.jpg,cat", "1.jpg,cat", "1.jpg,cat"], "2 entries of "),
        (["1.jpg,cat", "2.jpg,dog", "3.jpg,cat|dog"], "1 label joined from other class names, read as several labels: "),
    ],
)
def test_singular_and_plural_of_problems(tmp_path, rows, expected):
    images(tmp_path, "1.jpg", "2.jpg", "3.jpg", "a/1.jpg")
    _, problems = list_samples(open_source(write(tmp_path / "m.csv", "\n".join(["path,label", *rows]))), lambda _: None)
    assert [problem.message[: len(expected)] for problem in problems] == [expected]
