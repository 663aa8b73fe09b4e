"""Files of a run are written atomically and read with checks."""

import os
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from audit.errors import RunError
from audit.io.artifacts import create_array, filling, open_array, read_arrays, read_table, release, reopen_array, replacing, write_array, write_table


def test_filled_array_appears_only_when_complete(tmp_path):
    path = tmp_path / "predictions.npy"
    np.save(path, np.zeros(3, np.float32))
    with filling(path, (5, 2), np.float32) as array:
        array[:] = 1
        assert open_array(path).shape == (3,)
    assert open_array(path).tolist() == [[1, 1]] * 5
    assert [found.name for found in tmp_path.iterdir()] == ["predictions.npy"]


def test_failed_filling_keeps_the_old_file(tmp_path):
    path = tmp_path / "predictions.npy"
    np.save(path, np.arange(3))

    def fill():
        with filling(path, (5, 2), np.float32) as array:
            array[:2] = 1
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fill()
    assert open_array(path).tolist() == [0, 1, 2]
    assert [found.name for found in tmp_path.iterdir()] == ["predictions.npy"]


def test_replacing_flushes_before_renaming_and_cleans_up(tmp_path, monkeypatch):
    path, done = tmp_path / "run.json", []
    monkeypatch.setattr(os, "fsync", lambda file: done.append(os.fstat(file).st_size))
    with replacing(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert (path.read_bytes(), done) == (b"whole", [5])

    def write():
        with replacing(path) as file:
            file.write(b"ha")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write()
    monkeypatch.setattr(os, "fsync", lambda file: done.append(path.read_bytes()))
    with replacing(path) as file:
        file.write(b"newer")
    assert done[-1] == b"whole"
    assert [found.name for found in tmp_path.iterdir()] == ["run.json"]


def test_single_bit_corruption_is_detected(tmp_path):
    path = tmp_path / "samples.parquet"
    write_table(path, pa.table({"number": np.random.default_rng(0).integers(0, 2**62, 5000)}))
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match="corrupt"):
        read_table(path)


def test_released_pages_stay_in_the_file(tmp_path):
    array = create_array(tmp_path / "a.npy", (3_000_000,), np.float32)
    array[:] = np.arange(3_000_000)
    release(array, array[5:], None, [1])
    assert array[2_999_999] == 2_999_999
    array.flush()
    del array
    assert (np.load(tmp_path / "a.npy") == np.arange(3_000_000)).all()


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="what a process holds is read from /proc")
def test_released_pages_do_not_count_as_memory(tmp_path):
    def held() -> int:
        return int(re.search(r"RssFile:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])

    write_array(tmp_path / "a.npy", np.ones(20_000_000, np.float32))
    array = open_array(tmp_path / "a.npy")
    assert array.sum() == 20_000_000
    before = held()
    release(array)
    assert before - held() > 60_000


@pytest.mark.parametrize("read", [read_arrays, open_array])
def test_all_reader_errors_become_run_errors(tmp_path, read):
    """NumPy parses headers as Python and archives as zip files, whose errors differ."""
    path = tmp_path / "arrays"
    with path.open("wb") as file:
        if read is open_array:
            np.save(file, np.arange(40).reshape(4, 10))
        else:
            np.savez(file, a=np.arange(40), b=np.zeros(3))
    content, random = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        damaged, at = bytearray(content), int(random.integers(0, min(len(content), 300)))
        damaged[at : at + 12] = random.bytes(12)
        path.write_bytes(damaged[: random.integers(at, len(content))] if random.random() < 0.3 else damaged)
        try:
            read(path)
        except RunError as error:
            refused += 1
            assert "corrupt: " in str(error)  # noqa: PT017
    assert refused > 200


def test_archive_without_an_array_is_corrupt(tmp_path):
    np.savez(tmp_path / "a.npz", of=np.zeros(3))
    assert read_arrays(tmp_path / "a.npz", "of")["of"].tolist() == [0, 0, 0]
    with pytest.raises(RunError, match="has no fold, labels"):
        read_arrays(tmp_path / "a.npz", "of", "labels", "fold")


@pytest.mark.parametrize("size", [-1, 1])
def test_reopens_only_arrays_of_the_expected_length(tmp_path, size):
    path = tmp_path / "a.npy"
    create_array(path, (5, 2), np.float16)[:] = 1
    reopened = reopen_array(path, (5, 2), np.float16)
    reopened[0] = 7
    del reopened
    assert open_array(path).tolist() == [[7, 7], *[[1, 1]] * 4]
    for shape, dtype in (((5, 3), np.float16), ((5, 2), np.float32)):
        with pytest.raises(RunError, match="is not an array of"):
            reopen_array(path, shape, dtype)
    content = path.read_bytes()
    path.write_bytes(content[:size] if size < 0 else content + bytes(size))
    with pytest.raises(RunError, match="corrupt: "):
        reopen_array(path, (5, 2), np.float16)
    assert path.stat().st_size == len(content) + size
