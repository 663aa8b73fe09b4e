import numpy as np
import pytest

from audit.io.blocks import blocks, rows_at_once, some_of


@pytest.mark.parametrize("classes", [1, 10, 1_000, 22_000, 10_000_000])
def test_blocks_have_a_bounded_number_of_cells(classes):
    assert 1 <= rows_at_once(classes) <= max(1, 8_000_000 // classes)


def test_blocks_contain_every_row_in_order(monkeypatch):
    monkeypatch.setattr("audit.io.blocks.CELLS_AT_ONCE", 21)
    parts = list(blocks(np.arange(100, 117), 3))
    assert max(map(len, parts)) == 7
    assert np.concatenate(parts).tolist() == list(range(100, 117))


def test_few_rows_are_all_returned():
    rows = np.array([4, 9, 12])
    assert some_of(rows, 3).tolist() == [4, 9, 12]


def test_random_subset_keeps_the_order():
    rows = np.arange(0, 20_000, 2)
    some = some_of(rows, 1_000)
    assert len(some) == 1_000
    assert (np.diff(some) > 0).all()
    assert np.isin(some, rows).all()
    assert np.bincount(some // 2 % 10, minlength=10).min() > 50  # alternating classes
    assert some_of(rows, 1_000, seed=1).tolist() != some.tolist()


def test_subset_by_images_is_independent_of_order():
    draw = np.random.default_rng(0)
    images = np.array([f"{number:032x}" for number in draw.integers(0, 2**62, 500)], "S32")
    order = draw.permutation(500)
    first, again = some_of(np.arange(500), 60, images), some_of(np.arange(500), 60, images[order])
    assert sorted(images[first]) == sorted(images[order][again])
