"""Agreement and precision: worked examples and properties."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.review.agreement import agreement, precision
from audit.review.decisions import Decision, latest


def decided(*rows):
    """Rows of (reviewer, number, verdict), or with a label."""
    return latest(
        [
            Decision(verdict=row[2], reviewer=row[0], finding_id=f"f{row[1]}", check=f"c{int(row[1]) % 2}", label=row[3] if len(row) > 3 else None)
            for row in rows
        ]
    )


FINDINGS = pd.DataFrame({"check": ["c0", "c1", "quiet"]})


def test_kappa_of_a_worked_example():
    # 50 subjects, 20 both yes, 15 both no, 5 only the first, 10 only the second: observed 0.7, expected 0.5, kappa 0.4
    answers = [("drop", "drop")] * 20 + [("keep", "keep")] * 15 + [("drop", "keep")] * 5 + [("keep", "drop")] * 10
    table = agreement(decided(*[(who, number, pair[at]) for number, pair in enumerate(answers) for at, who in enumerate(("ada", "ben"))]))
    (row,) = table.pairs.to_dict("records")
    assert (row["reviewer_a"], row["reviewer_b"], row["both"], row["same"]) == ("ada", "ben", 50, 35)
    assert row["kappa"] == pytest.approx(0.4)
    assert (table.subjects, table.disputed) == (50, 15)


def test_alpha_of_krippendorffs_example():
    # Krippendorff (2011), nominal data with missing values: alpha = 0.743
    answer = {1: ("relabel", "one"), 2: ("relabel", "two"), 3: ("relabel", "three"), 4: ("relabel", "four"), 5: ("relabel", "five")}
    observers = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    rows = [(f"r{who}", unit, *answer[value]) for who, values in enumerate(observers) for unit, value in enumerate(values) if value]
    assert agreement(decided(*rows)).alpha == pytest.approx(0.743, abs=0.0005)


def test_different_new_labels_are_a_dispute():
    table = agreement(decided(("ada", 1, "relabel", "cat"), ("ben", 1, "relabel", "dog"), ("ada", 2, "relabel", "cat"), ("ben", 2, "relabel", "cat")))
    assert (table.subjects, table.disputed) == (2, 1)


def test_unsure_does_not_count():
    table = agreement(decided(("ada", 1, "keep"), ("ben", 1, "unsure"), ("ben", 2, "keep")))
    assert (table.subjects, table.disputed, table.alpha, len(table.pairs)) == (0, 0, None, 0)
    always = agreement(decided(("ada", 1, "keep"), ("ben", 1, "keep")))
    assert (always.alpha, always.subjects) == (None, 1)
    assert np.isnan(always.pairs["kappa"].iloc[0])


def test_precision_counts_findings_not_decisions():
    rows = [("ada", 0, "drop"), ("ben", 0, "drop"), ("ada", 2, "keep"), ("ada", 4, "relabel", "x"), ("ben", 4, "keep"), ("ada", 6, "unsure")]
    table = precision(decided(*rows), FINDINGS).set_index("check")
    assert table.loc["c0", ["decided", "right", "precision"]].tolist() == [2, 1, 0.5]  # one tie, one unsure
    assert table.loc["quiet", ["decided", "low", "high"]].tolist() == [0, 0.0, 1.0]
    assert np.isnan(table.loc["quiet", "precision"])


def test_interval_leaves_equal_tails():
    rows = [("ada", 2 * number, "drop" if number < 8 else "keep") for number in range(10)]
    row = precision(decided(*rows), FINDINGS).set_index("check").loc["c0"]
    grid = (np.arange(200_000) + 0.5) / 200_000
    density = grid**7.5 * (1 - grid) ** 1.5  # Beta(8 + 1/2, 2 + 1/2), unnormalized
    assert density[grid < row["low"]].sum() / density.sum() == pytest.approx(0.025, abs=1e-4)
    assert density[grid > row["high"]].sum() / density.sum() == pytest.approx(0.025, abs=1e-4)


def test_no_decisions():
    table = precision(decided(), FINDINGS)
    assert table["check"].tolist() == ["c0", "c1", "quiet"]
    assert table["decided"].sum() == 0


ROWS = st.lists(
    st.tuples(st.sampled_from(["ada", "ben", "cid"]), st.integers(0, 7), st.sampled_from(["keep", "drop", "unsure"])),
    max_size=30,
    unique_by=lambda row: row[:2],
)


@settings(deadline=None, max_examples=60)
@given(ROWS)
def test_bounds_hold_and_order_does_not_matter(rows):
    frame, back = decided(*rows), decided(*rows[::-1])
    first, second = agreement(frame), agreement(back)
    assert (first.subjects, first.disputed) == (second.subjects, second.disputed)
    assert first.alpha is None or first.alpha == pytest.approx(second.alpha)
    assert first.alpha is None or first.alpha <= 1
    assert (first.pairs["kappa"].dropna() <= 1).all()
    table = precision(frame, FINDINGS)
    pd.testing.assert_frame_equal(table, precision(back, FINDINGS))
    known = table[table["decided"] > 0]
    assert ((known["low"] <= known["precision"]) & (known["precision"] <= known["high"])).all()
