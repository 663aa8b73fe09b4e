"""Files of a run appear whole or not at all."""

import re
from pathlib import Path

import numpy as np
import pytest

from audit.artifacts import create_array, filling, open_array, release, write_array


def test_a_filled_array_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "predictions.npy"
    np.save(path, np.zeros(3, np.float32))
    with filling(path, (5, 2), np.float32) as array:
        array[:] = 1
        assert open_array(path).shape == (3,)
    assert open_array(path).tolist() == [[1, 1]] * 5
    assert [found.name for found in tmp_path.iterdir()] == ["predictions.npy"]


def test_what_was_there_before_stays_where_filling_fails(tmp_path):
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


def test_released_pages_are_still_in_the_file(tmp_path):
    array = create_array(tmp_path / "a.npy", (3_000_000,), np.float32)
    array[:] = np.arange(3_000_000)
    release(array, array[5:], None, [1])
    assert array[2_999_999] == 2_999_999
    array.flush()
    del array
    assert (np.load(tmp_path / "a.npy") == np.arange(3_000_000)).all()


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="what a process holds is read from /proc")
def test_released_pages_no_longer_count(tmp_path):
    def held() -> int:
        return int(re.search(r"RssFile:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])

    write_array(tmp_path / "a.npy", np.ones(20_000_000, np.float32))
    array = open_array(tmp_path / "a.npy")
    assert array.sum() == 20_000_000
    before = held()
    release(array)
    assert before - held() > 60_000
