import datetime as dt
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from audit.images.provenance import DAY_CODES, Provenance, day_code, provenance


def photo(mode="RGB"):
    return Image.fromarray(np.random.default_rng(3).integers(0, 256, (40, 60, 3), np.uint8)).convert(mode)


def of(image, container="JPEG", **options):
    stream = io.BytesIO()
    image.save(stream, container, **options)
    return provenance(Image.open(stream))


def test_camera_and_day_come_from_exif():
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Maker", "Model 5\0"
    exif.get_ifd(0x8769)[0x9003] = "2012:07:03 10:11:12"
    found = of(photo(), exif=exif)
    assert (found.camera, found.day_code) == ("Maker Model 5", day_code("2012:07:03"))
    assert of(photo(), "TIFF", exif=exif).camera == "Maker Model 5"
    assert of(photo()).day_code is None


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("quality", [1, 30, 75, 95, 100])
def test_reports_libjpeg_quality(mode, quality):
    assert of(photo(mode), quality=quality).encoder.split(",")[0] == f"quality {quality}"


def test_other_tables_are_identified_by_a_digest():
    tables = [[at + step for at in range(2, 66)] for step in (0, 1)]
    found = [of(photo(), qtables=[table, table]).encoder for table in tables]
    assert len(set(found)) == 2
    assert all(text.startswith("table ") for text in found)


@pytest.mark.parametrize("options", [{"quality": 90}, {"qtables": [list(range(2, 66)), list(range(9, 73))]}, {"quality": 70, "progressive": True}])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_gray_and_color_images_have_the_same_encoder(options, subsampling):
    """Gray images have no chroma table and no subsampling; using these would make a class with many gray images look like one source."""
    assert of(photo("L"), **options) == of(photo(), subsampling=subsampling, **options)


def test_progressive_jpeg_and_formats_without_encoder():
    assert of(photo(), quality=80, progressive=True).encoder == "quality 80, progressive"
    assert of(photo(), "PNG") == Provenance()


@settings(deadline=None)
@given(st.dates(), st.times(), st.times())
def test_day_code_ignores_the_time(day, one, other):
    codes = {day_code(f"{day:%Y:%m:%d} {hour:%H:%M:%S}".rjust(19, "0")) for hour in (one, other)}
    assert len(codes) == 1
    assert 0 <= codes.pop() < DAY_CODES


def test_many_days_share_a_code():
    days = [f"2012:{month:02}:{day:02}" for month in range(1, 13) for day in range(1, 29)]
    assert np.bincount([day_code(day) for day in days], minlength=DAY_CODES).min() >= 10


@pytest.mark.parametrize("written", ["", "0000:00:00 00:00:00", "    :  :     :  :  ", "2012-07-03", "yesterday", "2012:00:10 00:00:00"])
def test_invalid_date_has_no_code(written):
    assert day_code(written) is None


def test_documented_uniqueness_of_day_codes():
    """Count days of four years whose code is unique within their month, week or year."""
    days = [dt.date(2021, 1, 1) + dt.timedelta(at) for at in range(4 * 365)]
    codes = [day_code(f"{day:%Y:%m:%d}") for day in days]

    def unique(period):
        within = Counter(zip(map(period, days), codes, strict=True))
        return sum(count == 1 for count in within.values()) / len(days)

    assert unique(lambda day: (day.year, day.month)) == pytest.approx(0.15, abs=0.03)
    assert unique(lambda day: tuple(day.isocalendar())[:2]) == pytest.approx(0.68, abs=0.03)
    assert unique(lambda day: day.year) == 0
    for page in ("docs/run-format.md", "docs/checks/same_source.md"):
        text = (Path(__file__).resolve().parents[2] / page).read_text(encoding="utf-8")
        assert ("15%" in text, "68%" in text) == (True, True)
