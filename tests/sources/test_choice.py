"""Detection of source kinds, and their options."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit.errors import SourceError
from audit.sources import SourceOptions, find_kinds, open_source


def test_options_of_every_kind_exist():
    known = set(SourceOptions.__dataclass_fields__)
    for kind in find_kinds().values():
        assert known >= kind.OPTIONS


@pytest.mark.parametrize("option", ["path_column", "image_column", "label_column", "split_column"])
def test_refuses_option_without_effect(tmp_path, option):
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(SourceError, match=f"`{option}`: has no effect on a folder source; .*labels_file"):
        open_source(str(tmp_path), SourceOptions(**{option: "x"}))


def test_refuses_label_file_with_manifest(tmp_path):
    (tmp_path / "list.csv").write_text("path,label\na.jpg,ant\n")
    with pytest.raises(SourceError, match="`labels_file`: has no effect on a manifest source"):
        open_source(str(tmp_path / "list.csv"), SourceOptions(labels_file="x.csv"))


def test_images_with_a_table_are_a_folder(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    pq.write_table(pa.table({"embedding": [b"123"]}), tmp_path / "features.parquet")
    source = open_source(str(tmp_path))
    assert source.kind == "folder"
    assert [sample.sample_id for sample in source.collect()] == ["a.jpg"]


def test_parquet_with_images_is_not_a_folder(tmp_path):
    pq.write_table(pa.table({"image": [b"123"], "label": ["ant"]}), tmp_path / "train.parquet")
    assert open_source(str(tmp_path)).kind == "huggingface"


def test_parquet_files_without_images_are_reported(tmp_path):
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


def test_missing_shards_are_reported_for_a_folder_only(tmp_path):
    for name in ("train-00000-of-00005.parquet", "train-00002-of-00005-0123abcd.parquet", "test-00000-of-00001.parquet"):
        pq.write_table(pa.table({"image": [b"1"], "label": ["ant"]}), tmp_path / name)
    source = open_source(str(tmp_path))
    assert len(list(source.collect())) == 3
    missing = [f"train-0000{number}-of-00005.parquet" for number in (1, 3, 4)]
    assert [(problem.kind, problem.evidence) for problem in source.problems] == [("not_listed", {"entries": 3, "names": missing})]
    source = open_source(str(tmp_path / "train-00000-of-00005.parquet"))
    assert len(list(source.collect())) == 1
    assert source.problems == []


@pytest.mark.parametrize("kind", ["auto", "folder"])
def test_refuses_run_directory(small_run, kind):
    (small_run.path / "previews").mkdir()
    (small_run.path / "previews" / "a.jpg").write_bytes(b"x")
    with pytest.raises(SourceError, match="is a run directory; its dataset is /data/pets"):
        open_source(str(small_run.path), SourceOptions(kind=kind))


@pytest.mark.parametrize("content", ["{}", "[1]", "not JSON", '{"source": {"location": "x"}}'])
def test_dataset_may_contain_a_run_json(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert len(list(open_source(str(tmp_path)).collect())) == 1
