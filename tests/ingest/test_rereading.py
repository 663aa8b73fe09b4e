"""Images are read again as ingest read them."""

import io

import numpy as np
import pytest
from PIL import Image

import audit
from audit.images.decode import decode
from audit.ingest.rereading import Reader
from audit.pairs import confirmation

WINDOW = (31768.0, 33298.0)


def deep():
    """A faint 16-bit image of which the first half of the range is used."""
    values = np.tile(np.linspace(31768, 32500, 80).astype(np.uint16), (60, 1))
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


class Files:
    """A source of one file in memory, that refuses files above the limit as storage does."""

    def read(self, source_ref):
        from audit.sources.storage.files import require_size

        require_size(len(deep()))
        return deep()


def test_deep_values_are_scaled_as_in_the_rest_of_the_dataset():
    pixels = Reader(source=Files(), max_pixels=10**6, ranges={"I;16": WINDOW})("any")
    expected = np.asarray(decode(deep(), ranges={"I;16": WINDOW}).image)
    np.testing.assert_array_equal(pixels, expected)
    assert pixels.max() < 150
    assert Reader(source=Files(), max_pixels=10**6)("any").max() > 200


@pytest.mark.parametrize("limit", [{"max_pixels": 79 * 60}, {"max_bytes": 100}])
def test_images_beyond_the_limits_are_not_read(limit):
    reader = Reader(**{"source": Files(), "max_pixels": 10**6, **limit})
    assert reader("any") is None


def test_a_scan_compares_images_within_its_limits(tmp_path, monkeypatch):
    for label in ("bone", "lung"):
        (tmp_path / "data" / label).mkdir(parents=True)
        (tmp_path / "data" / label / "0.png").write_bytes(deep())
    used = []

    class Watched(confirmation.Confirmation):
        def __init__(self, read, source_refs, workers):
            used.append(read)
            super().__init__(read, source_refs, workers)

    monkeypatch.setattr(confirmation, "Confirmation", Watched)
    limits = {"max_pixels": 5000, "max_bytes": 10**6, "seconds_per_image": 7.0}
    options = audit.ScanOptions(backbone="embedded", device="cpu", only=("near_duplicates",), **limits)
    audit.scan(tmp_path / "data", tmp_path / "run", options=options)
    (read,) = used
    assert (read.max_pixels, read.max_bytes, read.seconds) == (5000, 10**6, 7.0)
    assert list(read.ranges) == ["I;16"]
