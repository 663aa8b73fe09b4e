"""Deep values are scaled the same way over a dataset, and how is recorded."""

import numpy as np
import pytest
from PIL import Image

import audit
from audit.images.deep import window_of
from audit.ingest.deep_values import survey_ranges
from audit.ingest.listing import list_samples
from audit.sources import open_source


def write(folder, deep):
    for label in ("bone", "lung"):
        (folder / label).mkdir(parents=True)
        for number in range(4):
            coarse = np.random.default_rng(number + 10 * len(label)).integers(0, 256, (6, 6), np.uint8)
            gray = np.asarray(Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC)) // (1 + number)
            pixels = (31768 + gray.astype(np.uint16) * 6).astype(np.uint16) if deep else gray
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    return folder


def surveyed(folder):
    source = open_source(str(folder))
    return survey_ranges(source, list_samples(source, lambda _: None).table, 10**8)


def test_range_is_that_of_the_dataset(tmp_path):
    ((low, high),) = surveyed(write(tmp_path / "deep", deep=True)).values()
    assert abs(low - 31768) < 120
    assert abs(high - (31768 + 255 * 6)) < 250
    assert surveyed(write(tmp_path / "plain", deep=False)) == {}


@pytest.mark.parametrize(
    ("values", "is_float", "expected"),
    [
        ([0, 4000], False, (0, 4095)),
        ([0, 60000], False, (0, 65535)),
        ([300, 300], False, (0, 1023)),
        ([0, 60000, 60001], False, (0, 65535)),
        ([-1000, 3000], False, (-1024, 3072)),
        ([0.0, 0.7], True, (0, 1)),
        ([-2.0, 6.0], True, (-2, 6)),
        ([0] * 50 + [40000 + k for k in range(500)], False, (40000, 40512)),
    ],
)
def test_ranges(values, is_float, expected):
    low, high = window_of([np.array(values, float)], is_float=is_float)
    assert abs(low - expected[0]) <= 32
    assert abs(high - expected[1]) <= 32


def test_deep_dataset_measures_what_its_8_bits_measure(tmp_path):
    options = audit.ScanOptions(backbone="embedded", device="cpu", workers=1, only=("integrity", "listing"))
    runs = [audit.scan(write(tmp_path / name, deep=name == "deep"), tmp_path / f"run-{name}", options=options) for name in ("deep", "plain")]
    deep, plain = (run.samples for run in runs)
    assert np.abs(deep["entropy"] - plain["entropy"]).max() < 0.5
    assert np.abs(deep["brightness"] - plain["brightness"]).max() < 0.1
    (problem,) = runs[0].record["source"]["problems"]
    assert (problem["kind"], problem["evidence"]["mode"]) == ("scaled_values", "I;16")
    assert runs[0].record["source"]["ranges"]["I;16"] == [problem["evidence"]["low"], problem["evidence"]["high"]]
