import pytest

from reports.content.wording import check_title, label, percent, self_test, title, when


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


def test_self_test_is_reported_in_sentences():
    found = {
        "wrong_share": 0.015,
        "wrong_share_interval": [0.003, 0.04],
        "changed": 240,
        "found": 193,
        "flagged": 214,
        "found_random": 0.97,
        "found_confusable": 0.63,
        "cannot_help": list("abcdefg"),
    }
    text = self_test({"stages": {"predictions": {"self_test": found}}})
    assert text.startswith("An estimated 1.5% of the labels are wrong (0.3% to 4.0%). Self-test: of 240 labels that were changed on purpose, 193")
    assert text.endswith("among 214 flags. It cannot help with a, b, c, d, e and 2 more classes.")
    noise = {"systematic": [["cat", "dog", 0.171, 42]]}
    text = self_test({"stages": {"predictions": {"self_test": found, "label_noise": noise}}})
    assert "wrong (0.3% to 4.0%). At least about 17% of the images of cat are labelled dog (42 images). Self-test:" in text
    assert self_test({"stages": {}}) is None
    assert self_test({"stages": {"predictions": {"self_test": {**found, "changed": "many"}}}}) is None
