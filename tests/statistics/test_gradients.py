import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.statistics.gradients import find_marks, gradients

SIDE = 32


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.integers(8, 32), st.integers(2, 30))
def test_marks_stay_in_range(seed, side, count):
    random = np.random.default_rng(seed)
    own, others = (gradients(random.integers(0, 256, (number, side, side, 3)).astype(np.uint8)) for number in (count, 20))
    half = np.arange(count) % 2 == 0
    for mark in find_marks([own[:1], own[1:]], half, np.ones(count, bool), others, np.arange(20) % 2 == 0):
        left, top, right, bottom = mark.box
        assert 0 <= left < right <= side
        assert 0 <= top < bottom <= side
        assert 0 <= mark.p <= 1
        assert 0 <= mark.elsewhere <= 1


def test_images_without_edges_bear_no_mark():
    plain = gradients(np.full((20, SIDE, SIDE, 3), 128, np.uint8))
    half = np.arange(20) % 2 == 0
    assert not any(mark.bears.any() for mark in find_marks([plain], half, np.ones(20, bool), plain, half))
