import pytest

from reports.content.wording import check_title, label, percent, title, when


def test_names_are_for_people():
    assert (check_title("label_errors"), check_title("multi_object"), check_title("not_installed")) == (
        "Label errors",
        "Multi-object",
        "Not installed",
    )
    assert (title("re_encoded"), title("gps"), title("info")) == ("Re-encoded", "GPS", "Note")
    assert label("n1", {"n1": "tench, Tinca"}) == "tench (n1)"
    assert label("cat", {}) == "cat"
    assert label(None, {}) == "no label"


@pytest.mark.parametrize(("share", "said"), [(1.0, "100%"), (0.99999, ">99.9%"), (0.0, "0%"), (1e-6, "<0.1%"), (0.123, "12.3%")])
def test_percent_never_says_all_where_it_is_not(share, said):
    assert percent(share) == said


def test_what_is_no_time_is_left_as_it_is():
    assert when("2026-01-31T13:00:00+01:00") == "2026-01-31 12:00 UTC"
    assert when("yesterday") == "yesterday"
