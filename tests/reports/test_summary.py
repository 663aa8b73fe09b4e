import dataclasses

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from audit.review.ranking import ranked
from audit.tables import FINDINGS, SEVERITIES
from reports.summary import WORST_PER_CHECK, summarize


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
    for total in summary.checks:
        assert sum(total.severities.values()) == sum(total.kinds.values()) == total.findings
        assert len(total.worst) == min(total.findings, WORST_PER_CHECK)


def test_certain_label_evidence_comes_first_and_notes_last(small_run):
    assert [total.name for total in summarize(small_run).checks] == ["conflicting_labels", "integrity", "leakage", "class_balance"]


def test_every_check_is_found_clean_or_skipped(small_run):
    summary = summarize(small_run)
    assert summary.clean == ("outliers",)
    assert [(skipped.name, skipped.reason) for skipped in summary.skipped] == [("label_errors", "no predictions")]
    assert {total.name for total in summary.checks} | {*summary.clean} | {skipped.name for skipped in summary.skipped} == set(
        small_run.record["checks"]
    )


def test_worst_of_a_check_are_its_highest_scores(small_run):
    leakage = next(total for total in summarize(small_run).checks if total.name == "leakage")
    assert [round(finding.score, 2) for finding in leakage.worst] == [0.57, 0.56, 0.55]
    assert leakage.worst[0].evidence == {"cosine": 0.991}


def test_a_run_without_findings(small_run):
    empty = FINDINGS.empty_table().to_pandas()
    small_run.__dict__["findings_index"] = empty.assign(file=[], place=[])
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
def test_ranking_depends_on_the_findings_alone(rows, random):
    columns = list(rows[0]) if rows else ["check", "severity", "score", "finding_id"]
    shuffled = random.sample(rows, len(rows))
    first, second = (list(ranked(pd.DataFrame(order, columns=columns))["finding_id"]) for order in (rows, shuffled))
    assert first == second
    severities = [SEVERITIES.index(severity) for severity in ranked(pd.DataFrame(rows, columns=columns))["severity"]]
    assert severities == sorted(severities, reverse=True)
