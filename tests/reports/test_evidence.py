import json

import pytest

from reports.content.evidence import MOST, evidence_lines

WORDS = {"n1": "tench, Tinca tinca", "n2": "goldfish"}


@pytest.mark.parametrize(
    ("check", "evidence", "expected"),
    [
        ("label_errors", {"neighbors": [{"label": "n1"}, {"label": "n2"}, {"label": "n2"}]}, "goldfish (n2) x 2, tench (n1) x 1"),
        ("conflicting_labels", {"votes_of_neighbors": {"n1": 2, "n2": 7}}, "goldfish (n2) 7, tench (n1) 2"),
        ("label_errors", {"probabilities": {"n1": 0.004, "n2": 0.99}}, "goldfish (n2) 99.0%, tench (n1) 0.4%"),
        ("privacy", {"images_per_class": {f"c{at}": 10 - at for at in range(MOST + 2)}}, "c0 10, c1 9, c2 8, c3 7, c4 6, c5 5 and 2 more"),
        ("marks", {"adjusted_p": 1e-181}, "<0.0001"),
        ("label_errors", {"list_precision": [0.874, 0.78, 0.968]}, "87.4% (78.0% to 96.8%)"),
        ("class_overlap", {"share_interval": [0.13, 0.22]}, "13.0% to 22.0%"),
        ("leakage", {"relation": "identical_bytes"}, "Identical bytes"),
        ("label_errors", {"label_set": ["n2", "n1"]}, "goldfish (n2), tench (n1)"),
        ("subgroups", {"rates": {"labels": {"adjusted_p": None, "expected": 0.05, "rate": 0.12}}}, "labels: expected 5.0%, rate 12.0%"),
        ("crop_loss", {"usual": 0.2}, "20.0%"),
        ("faces", {"images": 1234}, "1,234"),
        ("of_another_package", {"complete": True}, "yes"),
    ],
)  # fmt: skip
def test_formats_evidence(check, evidence, expected):
    assert [text for _, text in evidence_lines(check, evidence, WORDS)] == [expected]


def test_omits_drawn_and_empty_values():
    assert evidence_lines("marks", {"partner": "a", "examples": ["b"], "box": [0, 0, 1, 1], "copies": [], "value": None}, {}) == []


def test_measure_keeps_its_unit():
    lines = dict(evidence_lines("image_quality", {"usual": 0.25, "value": 0.5, "unit": "log10"}, {}))
    assert (lines["Median of the dataset"], lines["Value"]) == ("0.25", "0.5")


def test_lines_of_a_real_run_are_short_without_code(demo_run):
    for check, evidence in demo_run.findings[["check", "evidence"]].itertuples(index=False):
        for name, text in evidence_lines(check, json.loads(evidence), {}):
            assert 0 < len(text) <= 300
            assert not any(mark in name + text for mark in '{}[]"')
