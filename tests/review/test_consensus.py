"""Decisions find their image after a rename and never apply to another copy of it."""

import pandas as pd
import pytest

from audit.review.consensus import _match_copies, consensus, rows_of
from audit.review.decisions import Decision, latest
from audit.run.findings import identity

X, Y = "aa" * 32, "bb" * 32


def samples(*rows):
    frame = pd.DataFrame(rows, columns=["sample_id", "content_id", "label"])
    return frame.sort_values("sample_id").reset_index(drop=True)


def about(sample_id, verdict="drop", *, content=X, ordinal=0, copies=1, reviewer="ada", finding="f", **more):
    return Decision(
        verdict=verdict,
        reviewer=reviewer,
        content_id=content,
        ordinal=ordinal,
        copies=copies,
        sample_id=sample_id,
        finding_id=finding,
        check="outliers",
        **more,
    )


def names(decisions, table):
    return [table["sample_id"].iloc[row] if row >= 0 else None for row in rows_of(latest(decisions), table)]


def test_renamed_image_is_found_by_content():
    assert names([about("old.jpg")], samples(("new.jpg", X, "cat"), ("old.jpg", Y, "cat"))) == ["new.jpg"]


def test_copies_are_distinguished_by_name_and_ordinal():
    copies = samples(("a.jpg", X, "cat"), ("b.jpg", X, "dog"))
    assert names([about("b.jpg", ordinal=1, copies=2)], copies) == ["b.jpg"]
    renamed = samples(("0.jpg", X, "cat"), ("b.jpg", X, "dog"))
    assert names([about("b.jpg", ordinal=1, copies=2)], renamed) == ["b.jpg"]
    moved_before = samples(("b.jpg", X, "dog"), ("z.jpg", X, "cat"))  # a.jpg became z.jpg: the ordinals changed places
    decided = [about("a.jpg", ordinal=0, copies=2, finding="f0"), about("b.jpg", ordinal=1, copies=2, finding="f1")]
    assert names(decided, moved_before) == ["z.jpg", "b.jpg"]
    both = samples(("y.jpg", X, "cat"), ("z.jpg", X, "dog"))
    assert names(decided, both) == ["y.jpg", "z.jpg"]


def test_ambiguous_copy_is_not_matched():
    left = samples(("a.jpg", X, "cat"))
    assert names([about("b.jpg", ordinal=1, copies=2)], left) == [None]
    assert names([about("gone.jpg", ordinal=0, copies=2)], left) == [None]


def test_later_copy_is_not_matched():
    more = samples(("0.jpg", X, "cat"), ("a.jpg", X, "cat"))
    assert names([about("a.jpg")], more) == ["a.jpg"]


def test_unreadable_image_is_found_by_name():
    table = samples(("a.jpg", None, "cat"), ("b.jpg", None, "cat"))
    assert names([about("b.jpg", content=identity(None, "b.jpg"))], table) == ["b.jpg"]


def test_missing_image_and_class_have_no_row():
    table = samples(("a.jpg", X, "cat"))
    assert names([about("c.jpg", content=Y)], table) == [None]
    assert names([Decision(verdict="keep", reviewer="ada", finding_id="f")], table) == [None]


TABLE = samples(("a.jpg", X, "cat"), ("b.jpg", Y, "dog"))


@pytest.mark.parametrize(
    ("given", "action", "label"),
    [
        ([about("a.jpg", "keep")], "keep", None),
        ([about("a.jpg", "unsure")], "unsure", None),
        ([about("a.jpg", "relabel", label="dog")], "relabel", "dog"),
        ([about("a.jpg", "keep", finding="f"), about("a.jpg", "drop", finding="g")], "drop", None),
        ([about("a.jpg", "keep"), about("a.jpg", "drop", reviewer="ben")], "disputed", None),
        ([about("a.jpg", "keep"), about("a.jpg", "drop", reviewer="ben"), about("a.jpg", "drop", reviewer="cid")], "drop", None),
        ([about("a.jpg", "relabel", label="dog"), about("a.jpg", "relabel", label="fox", reviewer="ben")], "disputed", None),
        ([about("a.jpg", "relabel", label="dog"), about("a.jpg", "relabel", label="fox", finding="g")], "disputed", None),
        ([about("a.jpg", "relabel", label="dog"), about("a.jpg", "unsure", reviewer="ben")], "relabel", "dog"),
        ([about("a.jpg", "relabel", label="a:b")], "relabel", "a:b"),
        ([about("a.jpg", "accept"), about("a.jpg", "keep", finding="g")], "accept", None),
    ],
)
def test_consensus_of_answers(given, action, label):
    (row,) = consensus(latest(given), TABLE).to_dict("records")
    assert (row["sample_id"], row["given_label"], row["action"], row["label"]) == ("a.jpg", "cat", action, label)
    assert row["reviewers"] == ",".join(sorted({decision.reviewer for decision in given}))


def test_no_decisions():
    assert consensus(latest([]), TABLE).empty


def test_thousands_of_copies_match_in_linear_time():
    compared = 0

    class Row(int):
        __hash__ = int.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return int(self) == other

    many = 300
    rows = {f"{number:03}.jpg": Row(number) for number in range(many)}
    renamed = {ordinal: (f"{ordinal:03}.jpg" if ordinal % 3 else "gone.jpg", many) for ordinal in range(many)}
    assert _match_copies(rows, renamed) == {ordinal: ordinal for ordinal in range(many)}
    assert compared < 10 * many
