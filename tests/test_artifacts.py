"""Files of a run appear whole or not at all."""

import numpy as np
import pytest

from audit.artifacts import filling, open_array


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
