"""With ``offline`` nothing is opened that lies on another machine, whoever names it; what only looks like it is read."""

import fsspec
import pytest

import audit
from audit import ScanOptions
from audit.errors import AuditError
from audit.sources import SourceOptions

URL = "https://images.invalid/ant.jpg"
SAID = "is reached over the network, which `offline` forbids; leave `offline` out, or copy it to this machine"


def options(**more):
    return ScanOptions(backbone="embedded", device="cpu", offline=True, only=("integrity",), **more)


@pytest.fixture
def never(monkeypatch):
    """No file system of fsspec may be opened."""

    def opened(*arguments, **_):
        raise AssertionError(f"{arguments[0]} was opened")

    monkeypatch.setattr(fsspec.core, "url_to_fs", opened)


@pytest.mark.parametrize(
    "place", ["https://images.invalid/data/", "s3://bucket/train.tar", "simplecache::s3://bucket/data.csv", "zip://*::http://a.invalid/b.zip"]
)
def test_a_dataset_of_another_machine_is_refused(tmp_path, never, place):
    with pytest.raises(AuditError, match="is reached over") as refused:
        audit.scan(place, tmp_path / "run", options=options())
    assert str(refused.value) == f"{place}: {SAID}"


def test_a_cache_of_another_machine_is_refused(tmp_path, never):
    (tmp_path / "data").mkdir()
    with pytest.raises(AuditError, match="is reached over") as refused:
        audit.scan(tmp_path / "data", tmp_path / "run", options=options(cache="s3://bucket/cache"))
    assert str(refused.value) == f"--cache s3://bucket/cache: {SAID}"


def test_an_image_of_another_machine_is_refused_in_a_manifest_of_this_one(tmp_path, never):
    (tmp_path / "data.csv").write_text(f"path,label\n{URL},ant\n", encoding="utf-8")
    with pytest.raises(AuditError, match="is reached over"):
        audit.scan(tmp_path / "data.csv", tmp_path / "run", options=options())


def test_labels_of_another_machine_are_refused(tmp_path, never):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.png").touch()
    with pytest.raises(AuditError, match=r"labels\.csv: is reached over"):
        audit.scan(tmp_path / "data", tmp_path / "run", options=options(source=SourceOptions(labels_file="https://images.invalid/labels.csv")))


def test_urls_of_this_machine_are_read(tmp_path):
    folder = tmp_path / "data" / "ant"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(b"not an image")
    memory = fsspec.filesystem("memory")
    memory.pipe("/offline/ant/a.png", b"not an image")
    for number, place in enumerate(((tmp_path / "data").as_uri(), "memory://offline")):
        run = audit.scan(place, tmp_path / f"run-{number}", options=options(cache="memory://offline-cache"))
        assert run.record["counts"]["listed"] == 1
    memory.rm("/offline", recursive=True)
