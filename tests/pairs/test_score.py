"""The operating point: its expected precision, its interval, and the effect of a higher precision."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.pairs.evidence import MEASURES, nothing
from audit.pairs.score import LEAST_SCORE, OperatingPoint, Scores, margin, operating_point, relations, score, with_own_share

KEPT_FROM_HALF = OperatingPoint(0.5, 1, 0.9, (0.0, 1.0))

probabilities = st.lists(st.floats(0, 1), max_size=40).map(np.array)


@settings(max_examples=80, deadline=None)
@given(probabilities, st.floats(0.5, 1))
def test_kept_pairs_have_the_wanted_precision(scores, wanted):
    point = operating_point(scores.astype(float), wanted)
    kept = scores[scores >= point.least_score] if point.pairs else scores[:0]
    assert len(kept) >= point.pairs
    if point.pairs:
        assert point.expected_precision >= wanted - 1e-9
        assert point.interval[0] <= point.expected_precision <= point.interval[1]
        assert kept.min() >= LEAST_SCORE
    more = operating_point(scores.astype(float), min(1, wanted + 0.05))
    assert more.pairs <= point.pairs


def test_good_pairs_do_not_lower_the_threshold_for_bad_ones():
    point = operating_point(np.array([0.999] * 1000 + [0.3] * 5), 0.9)
    assert point.pairs == 1000


def test_more_pairs_narrow_the_interval():
    few, many = (operating_point(np.full(count, 0.97), 0.9).interval for count in (10, 1000))
    assert few[1] - few[0] > many[1] - many[0]


def test_margin_is_measured_from_the_farther_neighbors():
    similarities = np.array([[0.9, 0.8, 0.5, 0.3], [0.9, 0.7, 0.6, 0.4], [0.5, np.nan, np.nan, np.nan]], np.float32)
    pairs = np.array([0, 0]), np.array([1, 1])
    assert margin(np.array([0.9, np.nan], np.float32), *pairs, similarities) == pytest.approx([0.45, 0])


@pytest.mark.parametrize(
    ("change", "relation"),
    [
        ({}, "re_encoded"),
        ({"local_difference": 0.2}, "edited_copy"),
        ({"color_difference": 0.1}, "edited_copy"),
        ({"mirrored": True}, "edited_copy"),
        ({"transform": [[0.8, 0, 0.1], [0, 0.8, 0.1]]}, "edited_copy"),
        ({"color_difference": 0.1, "detail_correlation": 0.3}, "same_scene"),
    ],
)
def test_relations(change, relation):
    plain = {"correlation": 0.99, "detail_correlation": 0.95, "residual": 0.01, "color_difference": 0.01, "local_difference": 0.02}
    values = plain | {"mirrored": False, "transform": [[1, 0, 0], [0, 1, 0]]} | change
    measured = {name: np.array([value], bool if name == "mirrored" else np.float32) for name, value in values.items()}
    evidence = replace(nothing(1), **measured)
    assert relations(evidence, Scores(np.array([0.99]), np.array([0.99])), KEPT_FROM_HALF).tolist() == [relation]


@pytest.mark.parametrize(("copy", "same_thing", "relation"), [(0.4, 0.97, "same_scene"), (0.4, 0.8, ""), (0.6, 0.1, "re_encoded")])
def test_a_copy_then_another_shot_then_nothing(copy, same_thing, relation):
    compared = replace(nothing(1), measures=np.ones((1, len(MEASURES)), np.float32))
    assert relations(compared, Scores(np.array([copy]), np.array([same_thing])), KEPT_FROM_HALF).tolist() == [relation]


def test_likenesses_are_worth_less_where_hardly_any_is_a_copy():
    rare = with_own_share(np.array([0.99] + [0.02] * 999))
    frequent = with_own_share(np.array([0.99] * 500 + [0.02] * 500))
    assert rare[0] < 0.5 < 0.98 < frequent[0]
    assert with_own_share(np.zeros(0)).tolist() == []


def test_images_that_do_not_align_are_not_copies():
    scores = score(nothing(2), np.zeros(2, np.float32))
    assert scores.copy.tolist() == scores.same_thing.tolist() == [0, 0]
