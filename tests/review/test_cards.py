"""Findings about one image or one pair are one card, which one decision settles."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit import open_run
from audit.errors import AuditError
from audit.io.artifacts import write_table
from audit.review.agreement import precision
from audit.review.cards import Cards, identified, row_id, settle
from audit.review.consensus import consensus_of_run
from audit.review.decisions import Decisions
from audit.tables import FINDINGS, cell_value

CAT, DOG, BOTH, FALSE = "train/cat/1.jpg", "train/dog/1.jpg", "train/cat/2.jpg", "val/dog/6.jpg"


def about(run, number, check, name, *, partner=None, suggested=None, label="n1"):
    samples = run.samples.set_index("sample_id")
    return {
        "finding_id": f"{number:016x}",
        "check": check,
        "kind": check,
        "subject": "sample",
        "severity": "warning",
        "score": 1 - number / 100,
        "sample_id": name,
        "content_id": samples.loc[name, "content_id"],
        "group_id": None,
        "split": "train",
        "label": label,
        "suggested_label": suggested,
        "message": "Look at it.",
        "evidence": json.dumps({"partner": partner} if partner else {}),
    }


@pytest.fixture
def run(small_run):
    """Both halves of a conflict, a copy of the same pair, a label finding about one half, and two findings about another image."""
    rows = {
        "conflicting_labels": [
            about(small_run, 1, "conflicting_labels", CAT, partner=DOG, suggested="n2"),
            about(small_run, 2, "conflicting_labels", DOG, partner=CAT, label="n2"),
        ],
        "leakage": [about(small_run, 3, "leakage", DOG, partner=CAT, label="n2")],
        "label_errors": [about(small_run, 4, "label_errors", CAT, suggested="n3"), about(small_run, 5, "label_errors", BOTH, suggested="n2")],
        "outliers": [about(small_run, 6, "outliers", BOTH)],
        "integrity": [],
    }
    for check, found in rows.items():
        write_table(small_run.path / "findings" / f"{check}.parquet", pa.Table.from_pylist(found, FINDINGS))
        small_run.record["checks"][check] = {"state": "done", "reason": None, "findings": len(found), "seconds": 0.1}
    (small_run.path / "run.json").write_text(json.dumps(small_run.record))
    assert pq.read_table(small_run.path / "findings/label_errors.parquet").num_rows == 2
    return open_run(small_run.path)


def decided(run, card, verdict, **more):
    cards = Cards(run)
    found = cards.of(card)
    log = Decisions(run.path)
    log.append(settle(cards, found, identified(run, found.images), verdict, reviewer="ann", **more))
    return log.current()


def actions(run, decisions):
    found = consensus_of_run(run, decisions)
    return {row["sample_id"]: (row["action"], cell_value(row["label"])) for row in found.to_dict("records")}


def ids(*numbers):
    return tuple(f"{number:016x}" for number in numbers)


def test_findings_about_one_pair_and_one_image_are_merged(run):
    cards = Cards(run)
    assert cards.of(*ids(1)).images == tuple(sorted((CAT, DOG)))
    assert set(cards.of(*ids(4)).findings) == set(ids(1, 2, 3, 4))
    assert set(cards.of(*ids(6)).findings) == set(ids(5, 6))
    assert cards.first([*ids(2), *ids(6), *ids(1), *ids(5)]) == [*ids(2), *ids(6)]
    assert len({cards.of(finding) for finding in ids(1, 2, 3, 4)}) == 1


def test_one_decision_settles_all_findings(run):
    current = decided(run, *ids(6), "relabel", label="n2")
    assert set(current["finding_id"]) == set(ids(5, 6))
    assert actions(run, current) == {BOTH: ("relabel", "n2")}
    assert dict(zip(current["finding_id"], current["verdict"], strict=True)) == dict(zip(ids(5, 6), ("relabel", "unsure"), strict=True))
    measured = precision(current, run.findings_index).set_index("check")
    assert measured.loc["label_errors", ["decided", "right"]].tolist() == [1, 1]
    assert measured.loc["outliers", "decided"] == 0, "a new label says nothing about an outlier"


def test_a_pair_is_one_finding_and_only_one_half_changes(run):
    current = decided(run, *ids(2), "relabel", label="n2")
    assert set(current["finding_id"]) == set(ids(1, 2, 3, 4))
    assert actions(run, current) == {CAT: ("relabel", "n2"), DOG: ("accept", None)}
    measured = precision(current, run.findings_index).set_index("check")
    assert measured.loc["conflicting_labels", ["decided", "right"]].tolist() == [1, 1]


@pytest.mark.parametrize("which", [0, 1])
def test_drops_one_of_a_pair(run, which):
    pair = sorted((CAT, DOG))
    current = decided(run, *ids(1), "drop", which=which)
    assert actions(run, current) == {pair[which]: ("drop", None), pair[1 - which]: ("accept", None)}
    log = Decisions(run.path)
    log.undo("ann")
    assert log.current().empty


def test_both_halves_are_right(run):
    current = decided(run, *ids(1), "keep")
    assert {action for action, _ in actions(run, current).values()} == {"keep"}
    assert precision(current, run.findings_index).set_index("check").loc["conflicting_labels", ["decided", "right"]].tolist() == [1, 0]


def test_decides_about_an_image_without_findings(run):
    row = int(run.rows_of([FALSE])[0])
    current = decided(run, row_id(row), "relabel", label="n1", note="seen")
    assert actions(run, current) == {FALSE: ("relabel", "n1")}
    assert (current["note"].item(), current["check"].item()) == ("seen", None)


def test_a_dropped_image_leaves_with_all_its_findings(run):
    row = int(run.rows_of([CAT])[0])
    current = decided(run, row_id(row), "drop")
    assert dict(zip(current["finding_id"], current["verdict"], strict=True)) == {None: "drop"} | dict.fromkeys(ids(1, 4), "drop")


def test_refuses_what_does_not_apply(run):
    cards = Cards(run)
    assert cards.of("row:99") is None
    assert cards.of("unknown") is None
    with pytest.raises(AuditError, match="without a label"):
        settle(cards, cards.of(*ids(6)), identified(run, [BOTH]), "relabel", reviewer="ann")
    whole = run.findings_index.loc[run.findings_index["check"] == "class_balance", "finding_id"].item()
    with pytest.raises(AuditError, match="images only"):
        settle(cards, cards.of(whole), {}, "drop", reviewer="ann")
