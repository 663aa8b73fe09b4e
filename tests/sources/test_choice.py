"""Which kind of source a place is taken for, and what it may be asked."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit.errors import SourceError
from audit.sources import SourceOptions, find_kinds, open_source


def test_every_kind_names_options_that_exist():
    known = set(SourceOptions.__dataclass_fields__)
    for kind in find_kinds().values():
        assert known >= kind.OPTIONS


@pytest.mark.parametrize("option", ["path_column", "image_column", "label_column", "split_column"])
def test_an_option_that_means_nothing_is_refused(tmp_path, option):
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(SourceError, match=f"`{option}`: means nothing for a folder source; .*labels_file"):
        open_source(str(tmp_path), SourceOptions(**{option: "x"}))


def test_a_label_file_beside_a_manifest_is_refused(tmp_path):
    (tmp_path / "list.csv").write_text("path,label\na.jpg,ant\n")
    with pytest.raises(SourceError, match="`labels_file`: means nothing for a manifest source"):
        open_source(str(tmp_path / "list.csv"), SourceOptions(labels_file="x.csv"))


def test_images_beside_a_table_are_a_folder(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    pq.write_table(pa.table({"embedding": [b"123"]}), tmp_path / "features.parquet")
    source = open_source(str(tmp_path))
    assert source.kind == "folder"
    assert [sample.sample_id for sample in source.collect()] == ["a.jpg"]


def test_a_table_of_images_is_not_a_folder(tmp_path):
    pq.write_table(pa.table({"image": [b"123"], "label": ["ant"]}), tmp_path / "train.parquet")
    assert open_source(str(tmp_path)).kind == "huggingface"


def test_images_beside_files_without_any_are_listed(tmp_path):
    images = pa.array([{"bytes": b"1", "path": "a/1.png"}, {"bytes": b"2", "path": "a/1.png"}])
    pq.write_table(pa.table({"note": ["x"], "label": ["ant"]}), tmp_path / "about.parquet")
    pq.write_table(pa.table({"image": images, "label": ["ant", "bee"]}), tmp_path / "train-00000-of-00003.parquet")
    pq.write_table(pa.table({"image": pa.nulls(1), "label": ["ant"]}), tmp_path / "train-00001-of-00003.parquet")
    pq.write_table(pa.table({"label": ["ant", "ant"]}), tmp_path / "train-00002-of-00003.parquet")
    source = open_source(str(tmp_path))
    samples = list(source.collect())
    assert [source.read(sample.source_ref) for sample in samples[:2]] == [b"1", b"2"]
    assert len({sample.sample_id for sample in samples}) == len(samples) == 3
    with pytest.raises(FileNotFoundError, match="no image bytes"):
        source.read(samples[2].source_ref)
    assert [(problem.kind, problem.severity, problem.evidence["entries"]) for problem in source.problems] == [
        ("no_image_column", "warning", 1),
        ("not_listed", "error", 2),
    ]


def test_files_that_a_numbered_set_lacks_are_told_of_a_folder_and_not_of_one_file(tmp_path):
    for name in ("train-00000-of-00005.parquet", "train-00002-of-00005-0123abcd.parquet", "test-00000-of-00001.parquet"):
        pq.write_table(pa.table({"image": [b"1"], "label": ["ant"]}), tmp_path / name)
    source = open_source(str(tmp_path))
    assert len(list(source.collect())) == 3
    lacking = [f"train-0000{number}-of-00005.parquet" for number in (1, 3, 4)]
    assert [(problem.kind, problem.evidence) for problem in source.problems] == [("not_listed", {"entries": 3, "names": lacking})]
    source = open_source(str(tmp_path / "train-00000-of-00005.parquet"))
    assert len(list(source.collect())) == 1
    assert source.problems == []


@pytest.mark.parametrize("kind", ["auto", "folder"])
def test_a_run_is_no_dataset(small_run, kind):
    (small_run.path / "previews").mkdir()
    (small_run.path / "previews" / "a.jpg").write_bytes(b"x")
    with pytest.raises(SourceError, match="is a run directory; its dataset is /data/pets"):
        open_source(str(small_run.path), SourceOptions(kind=kind))


@pytest.mark.parametrize("content", ["{}", "[1]", "no JSON", '{"source": {"location": "x"}}'])
def test_a_dataset_may_hold_a_file_called_like_a_runs(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert len(list(open_source(str(tmp_path)).collect())) == 1
