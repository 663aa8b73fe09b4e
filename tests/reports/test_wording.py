import pytest

from reports.content.wording import check_title, label, percent, title, when


def test_titles_and_labels():
    assert (check_title("label_errors"), check_title("split_shift"), check_title("not_installed")) == (
        "Label errors",
        "Split shift",
        "Not installed",
    )
    assert (title("re_encoded"), title("gps"), title("info")) == ("Re-encoded", "GPS", "Note")
    assert label("n1", {"n1": "tench, Tinca"}) == "tench (n1)"
    assert label("cat", {}) == "cat"
    assert label(None, {}) == "no label"


@pytest.mark.parametrize(("share", "expected"), [(1.0, "100%"), (0.99999, ">99.9%"), (0.0, "0%"), (1e-6, "<0.1%"), (0.123, "12.3%")])
def test_percent_shows_only_exact_0_and_100(share, expected):
    assert percent(share) == expected


def test_formats_times_and_keeps_other_text():
    assert when("2026-01-31T13:00:00+01:00") == "2026-01-31 12:00 UTC"
    assert when("yesterday") == "yesterday"
