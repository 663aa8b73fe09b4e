import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dashboard.api.similar import most_similar


@given(st.integers(0, 2**32 - 1), st.integers(0, 400), st.integers(1, 50))
def test_most_similar_rows_are_the_first_of_equal_ones(seed, rows, limit):
    drawn = np.random.default_rng(seed).integers(0, 3, (rows, 2)).astype(np.float16)
    drawn[np.random.default_rng(seed).random(rows) < 0.1] = np.nan
    similarity = drawn.astype(np.float32) @ np.array([1, 0], np.float32)
    expected = sorted(np.flatnonzero(np.isfinite(similarity)).tolist(), key=lambda row: (-similarity[row], row))[:limit]
    found, likeness = most_similar(drawn, np.array([1, 0], np.float32), limit)
    assert found.tolist() == expected
    assert likeness.tolist() == similarity[expected].tolist()
