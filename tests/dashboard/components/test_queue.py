import pandas as pd

from audit.review.agreement import precision
from audit.review.decisions import Decision, latest
from dashboard.components.queue import ALL, DECIDED, UNDECIDED, Filters, build, next_undecided, verdict_of


def decided(*entries):
    return latest(
        [
            Decision(verdict=verdict, reviewer=who, finding_id=finding, check="leakage", label="x" if verdict == "relabel" else None)
            for finding, who, verdict in entries
        ]
    )


def test_verdicts_of_two_reviewers():
    found = verdict_of(
        decided(("a", "ann", "keep"), ("a", "bob", "keep"), ("b", "ann", "keep"), ("b", "bob", "drop"), ("c", "ann", "unsure"), ("c", "bob", "drop"))
    )
    assert found == {"a": "keep", "b": "disputed", "c": "drop"}


def test_build_applies_filters(small_run):
    index = small_run.findings_index
    nothing = decided()
    assert build(index, Filters(("leakage",)), nothing) == ["f7", "f6", "f5", "f4", "f3"]
    assert build(index, Filters(("leakage", "conflicting_labels")), nothing)[0] == "f1"
    assert build(index, Filters(("leakage", "conflicting_labels"), severities=("error",)), nothing) == ["f1"]
    assert build(index, Filters(("leakage",), splits=("train",)), nothing) == []
    some = decided(("f6", "ann", "drop"), ("f3", "ann", "keep"))
    assert build(index, Filters(("leakage",), state=UNDECIDED), some) == ["f7", "f5", "f4"]
    assert build(index, Filters(("leakage",), state=DECIDED), some) == ["f6", "f3"]
    assert build(index, Filters(("leakage",), state=ALL, verdicts=("drop",)), some) == ["f6"]


def test_checks_with_low_precision_rank_lower(small_run):
    index = small_run.findings_index
    assert build(index, Filters(("leakage", "outliers", "class_balance")), decided())[0] == "f7"
    wrong = decided(*((f"f{number}", "ann", "keep") for number in range(3, 8)), *((f"gone{number}", "ann", "keep") for number in range(10)))
    learned = precision(wrong, index)
    both = build(index, Filters(("leakage", "class_balance")), wrong, learned)
    assert both[0] == "f8"
    assert isinstance(learned, pd.DataFrame)


def test_next_undecided():
    queue = ["a", "b", "c", "d"]
    assert next_undecided(queue, "a", {"a": "keep", "b": "drop"}) == "c"
    assert next_undecided(queue, "d", {"d": "keep"}) == "a"
    assert next_undecided(queue, "b", dict.fromkeys(queue, "keep")) == "c"
    assert next_undecided(["a"], "a", {"a": "keep"}) == "a"
    assert next_undecided(queue, None, {"a": "keep"}) == "b"
    assert next_undecided(queue, "gone", {}) == "a"


def test_whole_first_puts_class_findings_first(small_run):
    filters = Filters(("leakage", "class_balance"))
    assert build(small_run.findings_index, filters, decided())[-1] == "f8"
    assert build(small_run.findings_index, filters, decided(), whole_first=True) == ["f8", "f7", "f6", "f5", "f4", "f3"]
