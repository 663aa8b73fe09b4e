"""Which cards a queue has, and in which order."""

import numpy as np
import pytest

from audit.errors import AuditError
from audit.review.decisions import Decision
from dashboard.api.decide import Order, decide, undo
from dashboard.api.desk import Desk, verdict_of
from dashboard.api.queues import ALL, DECIDED, IMAGES, UNDECIDED, Wanted, options, queue

LEAKS = ["f7", "f6", "f5", "f4", "f3"]


@pytest.fixture
def desk(small_run):
    return Desk(small_run)


def ids(desk, page="duplicates", holding=None, *, filters=None, **more):
    return queue(desk, Wanted(page, filters or {}, **more), holding=holding).ids


def decided(desk, *entries):
    for finding, who, verdict in entries:
        desk.decisions.append([Decision(verdict=verdict, reviewer=who, finding_id=finding, check="leakage")])


def test_verdicts_of_two_reviewers(desk):
    decided(desk, ("a", "ann", "keep"), ("a", "bob", "keep"), ("b", "ann", "keep"), ("b", "bob", "drop"))
    decided(desk, ("c", "ann", "unsure"), ("c", "bob", "drop"))
    assert verdict_of(desk.standing()) == {"a": "keep", "b": "disputed", "c": "drop"}


def test_findings_about_one_image_are_one_card(desk):
    assert ids(desk) == ["f7"], "five findings about the same image"
    assert ids(desk, "labels") == ["f1"]
    assert ids(desk, "labels", filters={"severities": ("warning",)}) == []


def test_shows_undecided_and_decided_cards(desk):
    decided(desk, *((leak, "ann", "drop") for leak in LEAKS[1:]))
    assert ids(desk, state=UNDECIDED) == ["f7"], "one of its findings is undecided"
    decided(desk, ("f7", "ann", "drop"))
    assert (ids(desk, state=UNDECIDED), ids(desk, state=DECIDED), ids(desk, state=ALL)) == ([], ["f7"], ["f7"])
    assert (ids(desk, verdicts=("drop",)), ids(desk, verdicts=("keep",))) == (["f7"], [])


def test_a_linked_finding_is_shown_for_its_card(desk):
    assert ids(desk, holding="f4") == ["f4"]
    assert ids(desk, holding="f4", filters={"severities": ("error",)}) == ["f4"], "filters that hide it are dropped"
    assert ids(desk, holding="unknown") == ["f7"]


def test_any_image_can_be_browsed(desk):
    run = desk.run
    assert len(ids(desk, IMAGES)) == len(run)
    assert ids(desk, IMAGES, filters={"labels": ("n1",)}) == ["row:0", "row:1"]
    assert ids(desk, IMAGES, filters={"splits": ("val",), "labels": ("n2",)}) == ["row:4"]
    assert ids(desk, IMAGES, text="felis") == ["row:0", "row:1"]
    assert ids(desk, IMAGES, near=0) == ["row:0", "row:2", "row:1"]
    assert ids(desk, IMAGES, rows=(3, 1, 99)) == ["row:3", "row:1"]
    assert options(desk, IMAGES) == {"labels": ["n1", "n2"], "splits": ["train", "val"]}
    with pytest.raises(AuditError, match="unknown value"):
        ids(desk, IMAGES, sort="colour")


@pytest.mark.parametrize("page", [IMAGES, "duplicates", "quality"])
def test_orders_contain_the_same_cards(desk, page):
    known = set(ids(desk, page))
    for sort in ("class", "size", "random"):
        assert set(ids(desk, page, sort=sort, seed=3)) == known
    assert ids(desk, IMAGES, sort="random", seed=3) != ids(desk, IMAGES, sort="random", seed=4)
    assert ids(desk, IMAGES, sort="random", seed=3) == ids(desk, IMAGES, sort="random", seed=3)


def test_class_findings_come_first_on_the_bias_page(desk):
    assert ids(desk, "bias")[0] == "f8"


def test_decides_about_many_cards_as_one_action(desk):
    cards = tuple(ids(desk, IMAGES))
    verdicts, skipped = decide(desk, Order(cards, "drop", "ann"))
    assert (set(verdicts.values()), skipped) == ({"drop"}, 0)
    again = len(desk.standing())
    decide(desk, Order(cards, "drop", "ann"))
    assert len(desk.standing()) == again, "a second click adds nothing"
    undo(desk, "ann")
    assert desk.standing().empty


def test_takes_suggestions_and_skips_cards_without_one(desk):
    verdicts, skipped = decide(desk, Order(("f1", "f2"), "relabel", "ann"))
    assert (verdicts, skipped) == ({"f1": "relabel", "f2": None}, 1)
    assert desk.standing()["label"].dropna().unique().tolist() == ["n2"]
    with pytest.raises(AuditError, match="without a label"):
        decide(desk, Order(("f2",), "relabel", "ann"))
    with pytest.raises(AuditError, match="no such finding"):
        decide(desk, Order(("gone",), "drop", "ann"))
    assert np.isin(desk.standing()["reviewer"], ["ann"]).all()
