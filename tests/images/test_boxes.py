import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from audit.images.boxes import MOST_EXAMPLES, boxes_of, outlined, shown_images

edges = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.integers(-2, 2), st.text(max_size=2), st.none(), st.booleans())


def photo(side=64):
    stream = io.BytesIO()
    Image.new("RGB", (side, side), (90, 90, 90)).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def test_limits_examples_and_skips_invalid_ones():
    assert len(shown_images(None, {"examples": [f"{at}.jpg" for at in range(20)]})) == MOST_EXAMPLES
    assert shown_images(None, {"examples": "a.jpg"}) == []
    assert shown_images(None, {"examples": [3, None, "a.jpg"], "partner": "b.jpg"}) == ["a.jpg"]


@settings(deadline=None)
@given(st.one_of(st.lists(st.lists(edges, max_size=5), max_size=3), st.text(), st.none()))
def test_draws_boxes_of_any_evidence(found):
    for evidence in ({"boxes": found}, {"box": found}):
        image = Image.open(io.BytesIO(outlined(photo(), boxes_of(evidence))))
        assert image.size == (64, 64)


@pytest.mark.parametrize("side", [8, 64, 900])
def test_draws_only_the_edges(side):
    pixels = np.asarray(Image.open(io.BytesIO(outlined(photo(side), [(0.5, 0.5, 1.0, 1.0)]))), np.int16)
    changed = np.abs(pixels - 90).max(2) > 60
    assert changed[side // 2, side * 3 // 4]
    assert changed[-1, side * 3 // 4]
    assert not changed[: side * 2 // 5].any()


def test_image_without_boxes_is_unchanged():
    assert outlined(b"anything", []) == b"anything"
