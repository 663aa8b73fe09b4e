"""With ``offline``, nothing is opened over the network; local URLs still work."""

import fsspec
import pytest

import audit
from audit import ScanOptions
from audit.errors import AuditError
from audit.sources import SourceOptions

URL = "https://images.invalid/ant.jpg"
PROBLEM = "needs the network, which `offline` forbids; remove `offline`, or copy the data to this machine"


def options(**more):
    return ScanOptions(backbone="embedded", device="cpu", offline=True, only=("integrity",), **more)


@pytest.fixture
def never(monkeypatch):
    """Fail if fsspec opens a file system."""

    def opened(*arguments, **_):
        raise AssertionError(f"{arguments[0]} was opened")

    monkeypatch.setattr(fsspec.core, "url_to_fs", opened)


@pytest.mark.parametrize(
    "location", ["https://images.invalid/data/", "s3://bucket/train.tar", "simplecache::s3://bucket/data.csv", "zip://*::http://a.invalid/b.zip"]
)
def test_refuses_remote_dataset(tmp_path, never, location):
    with pytest.raises(AuditError, match="needs the network") as refused:
        audit.scan(location, tmp_path / "run", options=options())
    assert str(refused.value) == f"{location}: {PROBLEM}"


def test_refuses_remote_cache(tmp_path, never):
    (tmp_path / "data").mkdir()
    with pytest.raises(AuditError, match="needs the network") as refused:
        audit.scan(tmp_path / "data", tmp_path / "run", options=options(cache="s3://bucket/cache"))
    assert str(refused.value) == f"--cache s3://bucket/cache: {PROBLEM}"


def test_refuses_remote_image_in_local_manifest(tmp_path, never):
    (tmp_path / "data.csv").write_text(f"path,label\n{URL},ant\n", encoding="utf-8")
    with pytest.raises(AuditError, match="needs the network"):
        audit.scan(tmp_path / "data.csv", tmp_path / "run", options=options())


def test_refuses_remote_label_file(tmp_path, never):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.png").touch()
    with pytest.raises(AuditError, match=r"labels\.csv: needs the network"):
        audit.scan(tmp_path / "data", tmp_path / "run", options=options(source=SourceOptions(labels_file="https://images.invalid/labels.csv")))


def test_reads_local_urls(tmp_path):
    folder = tmp_path / "data" / "ant"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(b"not an image")
    memory = fsspec.filesystem("memory")
    memory.pipe("/offline/ant/a.png", b"not an image")
    for number, location in enumerate(((tmp_path / "data").as_uri(), "memory://offline")):
        run = audit.scan(location, tmp_path / f"run-{number}", options=options(cache="memory://offline-cache"))
        assert run.record["counts"]["listed"] == 1
    memory.rm("/offline", recursive=True)
