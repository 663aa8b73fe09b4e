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
    with pytest.raises(SourceError, match=f"{option}: means nothing for a folder source; .*labels_file"):
        open_source(str(tmp_path), SourceOptions(**{option: "x"}))


def test_a_label_file_beside_a_manifest_is_refused(tmp_path):
    (tmp_path / "list.csv").write_text("path,label\na.jpg,ant\n")
    with pytest.raises(SourceError, match="labels_file: means nothing for a manifest source"):
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
