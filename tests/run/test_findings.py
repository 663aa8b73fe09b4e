import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.checks import Check, Finding, Result
from audit.io.console import safe
from audit.run.findings import evidence_json, to_table
from audit.tables import FINDINGS

CHECK = Check(name="made_up", title="", needs=(), optional_needs=(), options=None, run=lambda: None, origin="")


def samples_of(contents, names=None):
    n = len(contents)
    return pd.DataFrame(
        {
            "sample_id": names or [f"s{at}" for at in range(n)],
            "content_id": pd.Series(contents, dtype="str"),
            "split": pd.Series(["train"] * n, dtype="str"),
            "label": pd.Series(["a"] * n, dtype="str"),
        }
    )


def table_of(findings, samples):
    return to_table(CHECK, Result(np.zeros(len(samples), np.float32), findings), samples)


def about(row, partner=None, **changes):
    return Finding(**{"kind": "odd", "score": 0.5, "message": "Is odd.", "row": row, "partner": partner, **changes})


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_ids_are_unique_and_independent_of_order_and_names(data):
    contents = data.draw(st.lists(st.sampled_from(["c0", "c1", "c2", "c3"]), min_size=1, max_size=8))
    rows = st.integers(0, len(contents) - 1)
    drawn = data.draw(st.lists(st.tuples(rows, st.none() | rows, st.sampled_from(["odd", "even"])), max_size=12))
    findings = [about(row, partner, kind=kind) for row, partner, kind in drawn]
    ids = table_of(findings, samples_of(contents))["finding_id"].to_pylist()
    assert len(set(ids)) == len(findings)
    order = data.draw(st.permutations(range(len(contents))))
    row_of = {old: new for new, old in enumerate(order)}
    moved = [about(row_of[row], None if partner is None else row_of[partner], kind=kind) for row, partner, kind in reversed(drawn)]
    renamed = samples_of([contents[old] for old in order], [f"other/{at}" for at in range(len(contents))])
    assert sorted(table_of(moved, renamed)["finding_id"].to_pylist()) == sorted(ids)


def test_ids_of_a_group_stay_when_it_gains_a_member():
    before = table_of([about(1, 0, group=0), about(2, 0, group=0)], samples_of(["c", "c", "d"]))
    after = table_of([about(1, 0, group=0), about(2, 0, group=0), about(3, 0, group=0)], samples_of(["c", "c", "d", "c"]))
    assert set(before["finding_id"].to_pylist()) < set(after["finding_id"].to_pylist())


def test_sorts_worst_first_then_by_name():
    findings = [about(2), about(1), about(0, severity="info", score=1.0), about(3, severity="error", score=0.1), about(4, score=0.9)]
    assert table_of(findings, samples_of(list("abcde")))["sample_id"].to_pylist() == ["s3", "s4", "s1", "s2", "s0"]


def test_columns_and_subjects():
    findings = [about(0, 1, group=1), about(None, label="a"), about(None), about(None, group=1)]
    table = table_of(findings, samples_of(["c", "d"]))
    assert table.schema.equals(FINDINGS)
    by_subject = {row["subject"]: row for row in table.to_pylist()}
    assert set(by_subject) == {"sample", "class", "dataset", "group"}
    assert json.loads(by_subject["sample"]["evidence"]) == {"partner": "s1"}
    assert by_subject["sample"]["group_id"] == by_subject["group"]["group_id"] is not None
    assert by_subject["class"]["label"] == "a"
    assert by_subject["dataset"]["sample_id"] is None


def test_unreadable_images_are_identified_by_name():
    samples = samples_of([None, None])
    table = table_of([about(0), about(1)], samples)
    assert len(set(table["finding_id"].to_pylist())) == 2
    assert table["content_id"].to_pylist() == [None, None]


@given(st.text())
@settings(deadline=None)
def test_messages_are_one_printable_line(text):
    assert safe(text).isprintable()


@pytest.mark.parametrize(
    ("evidence", "text"),
    [
        ({"b": 1, "a": np.float32(0.1)}, '{"a": 0.1, "b": 1}'),
        ({"x": float("nan"), "y": np.inf}, '{"x": null, "y": null}'),
        ({"x": 1 / 3, "y": np.array([1, 2])}, '{"x": 0.333333, "y": [1, 2]}'),
        ({"x": (True, None, np.bool_(0)), "y": {"z": np.int8(3)}}, '{"x": [true, null, false], "y": {"z": 3}}'),
        ({"x": "\udc80é"}, '{"x": "\\\\udc80é"}'),
    ],
)
def test_evidence_is_reproducible(evidence, text):
    assert evidence_json(evidence) == text


def test_evidence_refuses_types_that_json_lacks():
    with pytest.raises(TypeError, match="set"):
        evidence_json({"x": {1}})
