"""How many labels to review, estimated from the verdicts so far."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit import open_run
from audit.cli import invoke
from audit.io.artifacts import write_table
from audit.labels.review_yield import expected_yield
from audit.review.decisions import Decision, Decisions, latest
from audit.review.review_depth import ReviewDepth, depth_for_precision, depth_for_recall, outcomes, review_depth
from audit.tables import LABEL_QUALITY, SAMPLES


def test_depths_for_precision_and_recall():
    found = expected_yield(np.array([4.0, 3, 2, 1]), np.array([0.99, 0.81, 0.6, 0.0]))
    assert depth_for_precision(found, 0.75) == 3
    assert depth_for_precision(found, 0.999) == 0
    assert depth_for_recall(found, 0.7) == 2
    assert depth_for_recall(found, 1.0) == 4
    nothing = expected_yield(np.empty(0), np.empty(0))
    assert (depth_for_precision(nothing, 0.5), depth_for_recall(nothing, 0.5)) == (0, 0)


def test_outcome_is_the_majority():
    rows = np.array([0, 0, 0, 1, 2, 2, 3, -1])
    verdicts = np.array(["relabel", "drop", "keep", "keep", "keep", "accept", "unsure", "drop"], object)
    np.testing.assert_array_equal(outcomes(5, rows, verdicts), [1, 0, np.nan, np.nan, np.nan])


@pytest.fixture
def judged_run(small_run):
    rows = [{"given": 0, "predicted": 0, "alternative": 1, "probability_wrong": wrong, "score": wrong} for wrong in (0.9, 0.1, 0.5, None, 0.8, 0.7)]
    write_table(small_run.path / "label_quality.parquet", pa.Table.from_pylist(rows, LABEL_QUALITY))
    return open_run(small_run.path)


def about(run, row, verdict, check="label_errors"):
    sample = run.samples.iloc[row]
    return Decision(
        verdict=verdict, reviewer="ada", content_id=sample["content_id"], sample_id=sample["sample_id"], copies=1, finding_id=f"f{row}", check=check
    )


def test_verdicts_change_the_depths(judged_run):
    right = latest([about(judged_run, 0, "keep"), about(judged_run, 4, "keep"), about(judged_run, 5, "keep")])
    wrong = latest([about(judged_run, row, "drop") for row in (0, 4, 5)])
    assert review_depth(judged_run, right) == ReviewDepth(labels=5, worth_it=0, nearly_all=5)
    assert review_depth(judged_run, wrong) == ReviewDepth(labels=5, worth_it=5, nearly_all=4)


def test_renamed_image_keeps_its_verdict(judged_run):
    decided = latest([about(judged_run, 0, "keep"), about(judged_run, 4, "keep"), about(judged_run, 5, "keep")])
    samples = pq.read_table(judged_run.path / "samples.parquet").to_pylist()
    for sample in samples:
        sample["sample_id"] = f"new/{sample['sample_id']}"
    write_table(judged_run.path / "samples.parquet", pa.Table.from_pylist(samples, SAMPLES))
    assert review_depth(open_run(judged_run.path), decided) == review_depth(judged_run, decided)


def test_no_depth_without_label_verdicts_or_predictions(judged_run):
    assert review_depth(judged_run, latest([])) is None
    assert review_depth(judged_run, latest([about(judged_run, 0, "drop", check="leakage")])) is None
    assert review_depth(judged_run, latest([about(judged_run, 0, "unsure")])) is None
    decided = latest([about(judged_run, 0, "drop")])
    assert isinstance(decided, pd.DataFrame)
    (judged_run.path / "label_quality.parquet").unlink()
    assert review_depth(open_run(judged_run.path), decided) is None


def test_decisions_command_prints_the_depths(judged_run, capsys):
    Decisions(judged_run.path).append([about(judged_run, row, "drop") for row in (0, 4, 5)])
    assert invoke(["decisions", str(judged_run.path)]) == 0
    expected = "half of the 5 most suspicious labels are expected to be wrong; the first 4 of 5 are expected to hold 90% of all wrong labels"
    assert expected in capsys.readouterr().out
    assert invoke(["decisions", str(judged_run.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["label_review"] == {"labels": 5, "worth_it": 5, "nearly_all": 4}
