"""The decision log: nothing is lost with concurrent writers, crashes or a full disk."""

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.errors import AuditError, RunError
from audit.review.decisions import COLUMNS, FILE, VERDICTS, Decision, Decisions, decide


def about(number, verdict="keep", reviewer="ada", **more):
    return Decision(verdict=verdict, reviewer=reviewer, content_id=f"{number:064x}", finding_id=f"f{number}", check="outliers", **more)


@pytest.fixture
def log(tmp_path):
    return Decisions(tmp_path)


def current(log):
    return {(row["reviewer"], row["subject"]): row["verdict"] for row in log.current().to_dict("records")}


def test_decisions_are_read_by_another_instance(log, tmp_path):
    log.append([about(1, "relabel", label="dog", given_label="cat", sample_id="a/\u202e\n.jpg", note="tail & ears")])
    (row,) = Decisions(tmp_path).current().to_dict("records")
    assert (row["verdict"], row["label"], row["sample_id"], row["note"]) == ("relabel", "dog", "a/\u202e\n.jpg", "tail & ears")
    assert row["time"].endswith("+00:00")
    assert list(row) == [*COLUMNS, "subject"]


def test_latest_decision_of_each_reviewer_is_current(log):
    log.append([about(1, "keep"), about(2, "drop")])
    log.append([about(1, "drop", "ben")])
    log.append([about(1, "unsure")])
    assert current(log) == {("ada", "f1"): "unsure", ("ada", "f2"): "drop", ("ben", "f1"): "drop"}


def test_undo_reverts_a_whole_action(log, tmp_path):
    log.append([about(1, "keep")])
    log.append([about(1, "drop"), about(2, "drop")])
    log.append([about(3, "drop", "ben")])
    assert [decision.finding_id for decision in log.undo("ada")] == ["f1", "f2"]
    assert current(log) == current(Decisions(tmp_path)) == {("ada", "f1"): "keep", ("ben", "f3"): "drop"}
    assert [decision.verdict for decision in log.undo("ada")] == ["keep"]
    assert log.undo("ada") == []
    assert current(log) == {("ben", "f3"): "drop"}


def test_sees_lines_of_another_writer(log, tmp_path):
    other = Decisions(tmp_path)
    assert other.current().empty
    log.append([about(1)])
    assert len(other.current()) == 1
    other.append([about(2)])
    assert len(log.current()) == 2


def test_unchanged_log_is_not_read_again(log):
    log.append([about(1)])
    log.current()
    offset = log._offset
    assert offset == log.path.stat().st_size
    log.path.write_bytes(b"x" * offset)  # same length, same file: nothing was appended
    assert len(log.current()) == 1


def test_partial_last_line_is_skipped(log, tmp_path):
    log.append([about(1)])
    with log.path.open("ab") as file:
        file.write(b'{"action":"x","verd')
    assert len(Decisions(tmp_path).current()) == 1
    Decisions(tmp_path).append([about(2)])
    for reader in (log, Decisions(tmp_path)):
        assert current(reader) == {("ada", "f1"): "keep", ("ada", "f2"): "keep"}
        assert reader.unreadable == 1


@pytest.mark.parametrize("line", ["null", "3", "[]", '{"action": "a"}', '{"action":"a","verdict":"x","reviewer":"ada","finding_id":"f"}', "\x00"])
def test_invalid_lines_are_counted(log, tmp_path, line):
    log.append([about(1)])
    with log.path.open("a") as file:
        file.write(line + "\n")
    log.append([about(2)])
    assert len(log.current()) == 2
    assert log.unreadable == 1


def test_replaced_log_is_read_from_its_start(log, tmp_path):
    log.append([about(1), about(2), about(3)])
    assert len(log.current()) == 3
    (tmp_path / "other").mkdir()
    Decisions(tmp_path / "other").append([about(9)])
    (tmp_path / "other" / FILE).replace(log.path)
    assert current(log) == {("ada", "f9"): "keep"}
    log.path.unlink()
    assert log.current().empty


def test_concurrent_reviewers_lose_nothing(tmp_path):
    program = (
        "import sys; from audit.review.decisions import Decision, Decisions\n"
        "log = Decisions(sys.argv[1])\n"
        "for number in range(40): log.append([Decision(verdict='keep', reviewer=sys.argv[2], finding_id=f'f{number}-{part}', note='n' * 300)"
        " for part in range(30)])\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), name]) for name in ("ada", "ben")]
    assert [writer.wait() for writer in writers] == [0, 0]
    log = Decisions(tmp_path)
    assert log.current().groupby("reviewer").size().to_dict() == {"ada": 1200, "ben": 1200}
    assert log.unreadable == 0


def test_full_disk_leaves_no_partial_action(log, monkeypatch):
    import os

    log.append([about(1)])
    before = log.path.read_bytes()
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]) if data[:1] == b"{" else write(descriptor, data))
    with pytest.raises(OSError, match="No space"):
        log.append([about(2)])
    assert log.path.read_bytes() == before


def test_times_increase_if_the_clock_goes_back(log):
    log.append([about(1, "drop", time="2999-01-01T00:00:00.000000+00:00")])
    log.append([about(1, "keep")])
    assert current(log) == {("ada", "f1"): "keep"}
    log.undo("ada")
    assert current(log) == {("ada", "f1"): "drop"}


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"verdict": "kep"}, "did you mean 'keep'"),
        ({"verdict": "relabel"}, "enter the correct label"),
        ({"reviewer": " "}, "reviewer's name"),
        ({"content_id": None, "finding_id": None}, "content_id or a finding_id"),
    ],
)
def test_refuses_invalid_decisions(wrong, hint):
    with pytest.raises(AuditError, match=hint):
        Decision(**({"verdict": "keep", "reviewer": "ada", "content_id": "00", "finding_id": "f"} | wrong))


def test_refuses_a_missing_run_directory(tmp_path):
    with pytest.raises(RunError, match="no such run directory"):
        Decisions(tmp_path / "nowhere").append([about(1)])
    assert not (tmp_path / "nowhere").exists()


def test_decide_returns_one_decision_per_finding(small_run):
    chosen = small_run.findings.set_index("finding_id", drop=False).loc[["f1", "f2"]]
    first = decide(small_run, chosen.iloc[:1], "relabel", reviewer="ada")[0]
    assert first.label == chosen.iloc[0]["suggested_label"]
    assert (first.content_id, first.sample_id, first.given_label) == tuple(chosen.iloc[0][["content_id", "sample_id", "label"]])
    with pytest.raises(AuditError, match="relabel without a label"):
        decide(small_run, chosen.iloc[1:], "relabel", reviewer="ada")
    of_class = small_run.findings[small_run.findings["subject"] == "class"]
    assert decide(small_run, of_class, "keep", reviewer="ada")[0].content_id is None


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["ada", "ben"]), st.integers(0, 3), st.sampled_from([verdict for verdict in VERDICTS if verdict != "relabel"])),
        st.tuples(st.sampled_from(["ada", "ben"]), st.just("undo"), st.none()),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=30)
@given(STEPS)
def test_undo_is_a_stack_per_reviewer(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("log")
    log = Decisions(path)
    stacks = {"ada": [], "ben": []}
    for reviewer, subject, verdict in steps:
        if subject == "undo":
            undone = log.undo(reviewer)
            expected = stacks[reviewer].pop() if stacks[reviewer] else None
            assert [(decision.finding_id, decision.verdict) for decision in undone] == ([expected] if expected else [])
        else:
            log.append([Decision(verdict=verdict, reviewer=reviewer, finding_id=f"f{subject}")])
            stacks[reviewer].append((f"f{subject}", verdict))
    expected = {(reviewer, subject): verdict for reviewer, stack in stacks.items() for subject, verdict in stack}
    assert current(log) == current(Decisions(path)) == expected
    if log.path.exists():
        assert all(json.loads(line) for line in log.path.read_text().splitlines())
