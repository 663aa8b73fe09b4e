"""The order of findings, and how decisions change it."""

import pandas as pd

from audit.run.ranking import ranked

FINDINGS = pd.DataFrame(
    [
        ("a", "good", "error", 0.6),
        ("b", "poor", "error", 0.9),
        ("c", "good", "warning", 0.5),
        ("d", "poor", "warning", 0.9),
        ("e", "conflicting_labels", "error", 0.1),
    ],
    columns=["finding_id", "check", "severity", "score"],
)


def measured(decided, right, high):
    return pd.DataFrame({"check": ["poor"], "decided": [decided], "right": [right], "high": [high]})


def order(precision=None):
    return "".join(ranked(FINDINGS, precision)["finding_id"])


def test_severity_then_certainty_then_score():
    assert order() == "ebadc"
    assert order(measured(0, 0, 1.0)) == "ebadc"


def test_one_wrong_finding_lowers_a_check_slightly():
    assert order(measured(1, 0, 0.85)) == "eabdc"  # 0.9 * 2/3 is 0.6: a tie, by check


def test_mostly_wrong_check_ranks_one_severity_lower():
    assert order(measured(20, 2, 0.3)) == "eacbd"


def test_values_are_unchanged():
    assert ranked(FINDINGS, measured(20, 2, 0.3)).sort_index().equals(FINDINGS)
