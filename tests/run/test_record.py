"""Checksums of the files of a run, by which a later scan detects a corrupt one."""

import os

import pytest

from audit.run.record import DamagedError, Record

NAME = "neighbors.npy"


class Neighbors:
    name = "neighbors"
    files = (NAME,)


@pytest.fixture
def record(tmp_path):
    (tmp_path / NAME).write_bytes(b"as it was written")
    first = Record(tmp_path / "run.json", {"stages": {}, "timings": {}, "files": {}}, print)
    first.wrote(NAME)
    return Record(first.path, first.content, print)  # of the next scan


def rewrite(record, content, *, same_time):
    path = record.path.parent / NAME
    when = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(when.st_atime_ns, when.st_mtime_ns if same_time else when.st_mtime_ns + 1_000_000_000))


def test_unchanged_looking_file_is_read_only_before_use(record, capsys):
    rewrite(record, b"as it was WRITTEN", same_time=True)
    assert record.look_unchanged(NAME)
    with pytest.raises(DamagedError):
        record.rely_on(NAME)
    assert not (record.path.parent / NAME).exists()
    assert capsys.readouterr().out == f"{record.path.parent / NAME}: corrupt: content differs from what was written; recomputing it\n"


def test_copied_file_with_another_time_is_sound_and_remembered(record, capsys):
    rewrite(record, b"as it was written", same_time=False)
    assert record.look_unchanged(NAME)
    assert capsys.readouterr().out == ""
    assert record.content["files"][NAME]["modified_ns"] == (record.path.parent / NAME).stat().st_mtime_ns


@pytest.mark.parametrize("content", [b"as it was WRITTEN", b"as it was", b""])
def test_file_with_another_time_and_content_is_removed(record, content):
    rewrite(record, content, same_time=False)
    assert not record.look_unchanged(NAME)
    assert not (record.path.parent / NAME).exists()


def test_file_of_an_older_version_is_recorded_at_first_use(record):
    del record.content["files"][NAME]
    record.rely_on(NAME)
    following = Record(record.path, record.content, print)
    rewrite(following, b"as it was WRITTEN", same_time=True)
    with pytest.raises(DamagedError):
        following.rely_on(NAME)


def test_file_about_to_be_replaced_is_not_compared(record):
    record.begin(Neighbors())
    rewrite(record, b"again", same_time=False)
    assert record.look_unchanged(NAME)
