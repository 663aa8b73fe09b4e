"""Gzipped tars: reading members in order takes one pass."""

import io
import pickle
import tarfile

import pytest

from audit.errors import SourceError
from audit.sources import SourceOptions, open_source
from audit.sources.storage import gzip as compressed


def packed(path, count=20):
    with tarfile.open(path, "w:gz") as archive:
        for number in range(count):
            data = f"image {number}".encode() * 500
            member = tarfile.TarInfo(f"data/train/ant/{number:03}.jpg")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_sequential_reads_open_the_archive_once(tmp_path, monkeypatch):
    source = open_source(str(packed(tmp_path / "data.tar.gz")))
    samples = sorted(source.collect(), key=lambda sample: sample.sample_id)
    opened = []
    real = compressed.open_gzip
    monkeypatch.setattr(compressed, "open_gzip", lambda *arguments: opened.append(arguments) or real(*arguments))
    for number, sample in enumerate(samples):
        assert source.read(sample.source_ref) == f"image {number}".encode() * 500
    assert len(opened) == 1
    assert source.read(samples[3].source_ref) == b"image 3" * 500
    assert pickle.loads(pickle.dumps(source)).read(samples[0].source_ref) == b"image 0" * 500


@pytest.mark.parametrize("name", ["../outside.jpg", "/etc/passwd.jpg"])
def test_refuses_label_file_name_outside_the_dataset(tmp_path, name):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.jpg").write_bytes(b"x")
    (tmp_path / "labels.csv").write_text(f"file,label\na.jpg,ant\n{name},bee\n")
    source = open_source(str(tmp_path / "data"), SourceOptions(labels_file=str(tmp_path / "labels.csv")))
    with pytest.raises(SourceError, match=r"labels\.csv:3: .*points outside"):
        list(source.collect())


def test_line_numbers_count_blank_lines(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.jpg").write_bytes(b"x")
    (tmp_path / "labels.csv").write_text("file,label,split\n\na.jpg,ant,train\n\nb.jpg,bee,vaal\n")
    source = open_source(str(tmp_path / "data"), SourceOptions(labels_file=str(tmp_path / "labels.csv")))
    with pytest.raises(SourceError, match=r"labels\.csv:5: unknown split 'vaal'"):
        list(source.collect())
