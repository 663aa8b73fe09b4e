import dataclasses
import re
import shutil
from collections import Counter

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from audit.io.artifacts import write_json, write_table
from audit.review.decisions import Decisions, decide
from audit.run.ranking import ranked
from audit.run.run import Run
from audit.tables import FINDINGS, SEVERITIES
from reports.content.summary import WORST_PER_CHECK, summarize
from reports.content.wording import flagged, health
from reports.html import render
from reports.markdown import check_table


def test_counts_account_for_every_image(small_run):
    counts = summarize(small_run).counts
    assert (counts.listed, counts.scanned, counts.failed) == (6, 5, 1)
    assert counts.outcomes == {"truncated": 1}
    assert counts.splits == {"train": 4, "val": 2}
    assert (counts.labelled, counts.classes) == (5, 2)
    assert counts.flagged == 3


def test_totals_add_up(small_run):
    summary = summarize(small_run)
    assert summary.findings == len(small_run.findings) == sum(total.findings for total in summary.checks) == sum(summary.severities.values()) == 8
    assert summary.issues == len(small_run.issues) == sum(total.issues for total in summary.checks) == sum(summary.issue_severities.values()) == 4
    for total in summary.checks:
        assert sum(total.severities.values()) == sum(total.kinds.values()) == total.findings
        assert len(total.worst) == min(total.issues, WORST_PER_CHECK)


def test_ranks_certain_label_errors_first_and_notes_last(small_run):
    assert [total.name for total in summarize(small_run).checks] == ["conflicting_labels", "integrity", "leakage", "class_balance"]


def test_every_check_has_findings_or_is_clean_or_skipped(small_run):
    summary = summarize(small_run)
    assert summary.clean == ("outliers",)
    assert [(skipped.name, skipped.reason) for skipped in summary.skipped] == [("label_errors", "no predictions")]
    assert {total.name for total in summary.checks} | {*summary.clean} | {skipped.name for skipped in summary.skipped} == set(
        small_run.record["checks"]
    )


def test_worst_findings_have_the_highest_scores(small_run):
    leakage = next(total for total in summarize(small_run).checks if total.name == "leakage")
    assert [(round(finding.score, 2), finding.alike) for finding in leakage.worst] == [(0.57, 5)]
    assert leakage.worst[0].evidence == {"cosine": 0.991}


def test_top_is_undecided_and_one_per_pair_and_group(demo_run, tmp_path):
    run = Run(shutil.copytree(demo_run.path, tmp_path / "run"))
    top = summarize(run).top
    assert len(top) == 10
    assert len({finding.issue_id for finding in top}) == 10
    pairs = [{finding.sample_id, finding.evidence["partner"]} for finding in top if "partner" in finding.evidence]
    assert len({frozenset(pair) for pair in pairs}) == len(pairs) > 1
    group_of = run.findings.set_index("finding_id")["group_id"]
    groups = [group_of[finding.finding_id] for finding in top if isinstance(group_of[finding.finding_id], str)]
    assert len(set(groups)) == len(groups) > 1
    Decisions(run.path).append(decide(run, run.findings_page({"finding_id": top[0].finding_id}).rows, "unsure", reviewer="ada"))
    assert top[0].finding_id not in {finding.finding_id for finding in summarize(run).top}


def test_check_of_classes_has_no_health(marked_run):
    summary = summarize(marked_run)
    marks = next(total for total in summary.checks if total.name == "marks")
    assert (marks.flagged, marks.classes, marks.without_image, health(marks), flagged(marks)) == (0, 1, True, "-", "1 class")
    (row,) = re.findall(r"^\| `marks` \|.*$", check_table(summary), re.MULTILINE)
    assert "1 class | - |" in row
    table = re.search(r'<tr><td><a href="#check-marks".*?</tr>', render(marked_run), re.DOTALL).group()
    assert "<td>1 class</td>" in table
    assert "meter" not in table


def test_summarizes_run_without_findings(small_run):
    empty = FINDINGS.empty_table().to_pandas()
    small_run.__dict__["findings_index"] = empty.assign(file=[], place=[], issue_id=[])
    summary = summarize(small_run)
    assert (summary.findings, summary.checks, summary.top, summary.counts.flagged) == (0, (), (), 0)
    assert set(summary.clean) == {"conflicting_labels", "integrity", "leakage", "class_balance", "outliers"}


def test_summary_is_plain_data(small_run):
    assert dataclasses.asdict(summarize(small_run))["counts"]["listed"] == 6


ROW = st.fixed_dictionaries(
    {
        "check": st.sampled_from(["a", "conflicting_labels"]),
        "severity": st.sampled_from(SEVERITIES),
        "score": st.floats(0, 1, width=32),
        "finding_id": st.uuids().map(str),
    }
)


@given(st.lists(ROW, max_size=12, unique_by=lambda row: row["finding_id"]), st.randoms(use_true_random=False))
def test_ranking_ignores_the_order_of_findings(rows, random):
    columns = list(rows[0]) if rows else ["check", "severity", "score", "finding_id"]
    shuffled = random.sample(rows, len(rows))
    first, second = (list(ranked(pd.DataFrame(order, columns=columns))["finding_id"]) for order in (rows, shuffled))
    assert first == second
    severities = [SEVERITIES.index(severity) for severity in ranked(pd.DataFrame(rows, columns=columns))["severity"]]
    assert severities == sorted(severities, reverse=True)


def test_top_is_a_mix_of_checks(small_run):
    """Six label errors are worse than anything else, but the first issues show other checks too, and stay in the order of importance."""
    samples = small_run.samples
    template = pq.read_table(small_run.path / "findings/integrity.parquet").to_pylist()[0]
    rows = [
        template | {"finding_id": f"e{at}", "check": "label_errors", "kind": "wrong", "score": 1.0, "sample_id": name}
        for at, name in enumerate(samples["sample_id"])
    ]
    write_table(small_run.path / "findings/label_errors.parquet", pa.Table.from_pylist(rows, FINDINGS))
    small_run.record["checks"]["label_errors"] = {"state": "done", "reason": None, "findings": len(rows), "seconds": 0.1}
    write_json(small_run.path / "run.json", small_run.record)
    top = summarize(Run(small_run.path)).top
    counts = Counter(entry.check for entry in top)
    assert {"integrity", "conflicting_labels", "leakage"} <= set(counts)
    assert [entry.severity for entry in top] == sorted((entry.severity for entry in top), key=["error", "warning", "info"].index)
