"""A run that somebody else made is untrusted: it must not show, overwrite or fetch anything outside of it."""

import json
import os
import shutil
from pathlib import Path

import click
import fsspec
import pytest

import audit
from audit import ScanOptions, demo, open_run
from audit.cli import invoke
from audit.errors import AuditError, RunError, SourceError
from audit.images.previews import previews
from audit.run.scanned_datasets import public, recall, remember
from audit.sources import SourceOptions, open_source


@pytest.fixture
def run(demo_dataset_run, tmp_path):
    return shutil.copytree(demo_dataset_run, tmp_path / "run")


@pytest.fixture(scope="module")
def demo_dataset_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    demo.make(folder / "images")
    return audit.scan(folder / "images", folder / "run", options=ScanOptions(backbone="embedded", device="cpu", only=("integrity",))).path


def edit(run, change):
    record = json.loads((run / "run.json").read_text())
    change(record)
    (run / "run.json").write_text(json.dumps(record))


def test_refuses_links(run, tmp_path):
    """A report embedded the file that a linked preview pointed to, and wrote new previews through a linked folder."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("secret")
    content_id = open_run(run).columns("content_id")["content_id"][0]
    shutil.rmtree(run / "previews")
    (run / "previews").symlink_to(secret)
    assert invoke(["report", str(run)]) == 2
    (run / "previews").unlink()
    (run / "previews").mkdir()
    (run / "previews" / f"{content_id}.jpg").symlink_to(secret / "key")
    with pytest.raises(RunError, match=r"\.jpg: is a link, which a run never contains; remove it, or scan again"):
        open_run(run)
    assert [path.name for path in secret.iterdir()] == ["key"]


def test_scan_refuses_links_before_it_writes(run, tmp_path):
    target = tmp_path / "target"
    target.write_text("not a lock")
    (run / ".lock").unlink(missing_ok=True)
    (run / ".lock").symlink_to(target)
    with pytest.raises(RunError, match="is a link"):
        audit.scan(open_run_location(run), run, options=ScanOptions(backbone="embedded", device="cpu"))
    assert target.read_text() == "not a lock"


def open_run_location(run):
    return json.loads((run / "run.json").read_text())["source"]["location"]


def test_refuses_pipes(run):
    os.mkfifo(run / "decisions.jsonl")
    with pytest.raises(RunError, match="is a device, pipe or socket"):
        open_run(run)


def test_refuses_names_of_checks_that_are_paths(run):
    edit(run, lambda record: record["checks"].update({"../../elsewhere": {"state": "done", "findings": 0}}))
    with pytest.raises(RunError, match="is not the name of a check"):
        open_run(run)


def test_opens_only_datasets_that_this_machine_scanned(run, tmp_path, demo_dataset_run):
    images = open_run_location(run)
    assert open_run(run).source().location == images
    moved = shutil.copytree(images, tmp_path / "elsewhere")
    edit(run, lambda record: record["source"].update(absolute=str(moved), location=str(moved)))
    with pytest.raises(SourceError, match=r"was not scanned on this machine.*pass the dataset with --source"):
        open_run(run).source()
    shutil.rmtree(run / "previews")
    assert all(previews(open_run(run), [0, 1, 2])), "thumbnails"
    assert not (run / "previews").exists()
    named = open_run(run, source=str(moved))
    assert named.source().location == str(moved)
    assert all(previews(named, [0, 1, 2]))
    assert len(list((run / "previews").iterdir())) == 3


@pytest.mark.parametrize("location", ["webhdfs://10.0.0.1:80/x", "http://169.254.169.254/latest", "reference://", "simplecache::s3://bucket"])
def test_report_contacts_no_server_that_the_run_names(run, location, monkeypatch):
    def opened(*_, **__):
        raise AssertionError("opened")

    monkeypatch.setattr(fsspec.core, "url_to_fs", opened)
    options = {"storage_options": {"fo": {"version": 1}, "target_protocol": "memory"}, "allow_remote": True}
    edit(run, lambda record: (record["source"].update(absolute=location, location=location), record["options"]["source"].update(options)))
    assert invoke(["report", str(run)]) == 0
    with pytest.raises(SourceError, match="was not scanned on this machine"):
        open_run(run).source()


def test_private_options_never_come_from_a_run(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGENET_AUDIT_CACHE", str(tmp_path))
    hostile = {"kind": "folder", "storage_options": {"key": "hostile"}, "allow_remote": True}
    assert public(hostile) == SourceOptions(kind="folder")
    assert recall("s3://bucket/data", hostile) is None
    remember("s3://bucket/data", SourceOptions(kind="folder", storage_options={"key": "own"}))
    assert recall("s3://bucket/data", hostile) == SourceOptions(kind="folder", storage_options={"key": "own"})
    assert recall("s3://bucket/data", {"kind": "tar"}) is None
    (stored,) = (tmp_path / "scanned").iterdir()
    assert stored.stat().st_mode & 0o077 == 0, "storage options may hold secrets"


def test_references_stay_inside_the_dataset(run, tmp_path):
    location = open_run_location(run)
    outside = str(Path(location).parent / "outside.jpg")
    shutil.copy(Path(location) / open_run(run).columns("sample_id")["sample_id"][0], outside)
    source = open_run(run).source()
    for reference in ("../outside.jpg", "train/../../outside.jpg", outside, "%2e%2e/outside.jpg"):
        with pytest.raises(PermissionError, match="is outside of"):
            source.read(reference)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "memory://x.jpg", "local:///x.jpg", "reference://x.jpg", "simplecache::https://a/b.jpg", "sftp://a/b"]
)
def test_tables_list_only_servers(tmp_path, url):
    (tmp_path / "data.csv").write_text(f"path,label\na.jpg,cat\n{url},cat\n")
    source = open_source(str(tmp_path / "data.csv"), SourceOptions(allow_remote=True))
    with pytest.raises(SourceError, match=r"data\.csv:3: lists .* not allowed in a table"):
        list(source.collect())
    with pytest.raises(SourceError, match="not allowed in a table"):
        source.read(url)


def test_tables_reach_the_network_only_if_allowed(tmp_path):
    (tmp_path / "data.csv").write_text("path,label\nhttps://images.invalid/a.jpg,cat\n")
    with pytest.raises(SourceError, match=r"data\.csv:2: lists an image on another machine, https://images\.invalid/a\.jpg; add --allow-remote"):
        list(open_source(str(tmp_path / "data.csv")).collect())


def test_missing_package_of_a_protocol_is_one_line(tmp_path, monkeypatch):
    def missing(*_, **__):
        raise ImportError("Install aiohttp") from ModuleNotFoundError("No module named 'aiohttp'", name="aiohttp")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    (tmp_path / "data.csv").write_text("path,label\nhttps://images.invalid/a.jpg,cat\n")
    with pytest.raises(AuditError, match=r"cannot be opened \(Install aiohttp\); install the packages that this URL scheme needs"):
        list(open_source(str(tmp_path / "data.csv"), SourceOptions(allow_remote=True)).collect())


@pytest.mark.parametrize("command", ["scan", "check", "report", "dashboard", "explain", "export", "lock", "models", "demo"])
def test_every_command_that_may_connect_can_be_offline(command):
    from audit.cli import commands

    assert "--offline" in {name for parameter in commands.get_command(click.Context(commands), command).params for name in parameter.opts}


def test_offline_report_does_not_open_a_remote_source(run, monkeypatch):
    opened = []
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda *arguments, **_: opened.append(arguments))
    assert invoke(["export", str(run), "--strip-metadata", str(run.parent / "out"), "--source", "s3://bucket/x", "--offline"]) == 2
    assert opened == []
