import numpy as np
import pandas as pd
import pytest

from audit.labels.label_quality import disagreeing_copies, judge_labels, label_codes
from audit.tables import LABEL_QUALITY, PAIRS


def pair(i, j, relation="identical_bytes", score=1.0):
    return {"i": i, "j": j, "relation": relation, "score": score, "group": i, "evidence": "{}"}


def table(*pairs):
    return pd.DataFrame(list(pairs), columns=PAIRS.names)


def agreeing(rows=300):
    given = np.arange(rows) % 3
    predictions = np.full((rows, 3), 0.1, np.float32)
    predictions[np.arange(rows), given] = 0.8
    return predictions, given


def test_codes_of_labels():
    assert label_codes(pd.Series(["b", None, "unicorn", "a"]), ["a", "b"]).tolist() == [1, -1, -1, 0]
    assert label_codes(pd.Series([], dtype=object), []).tolist() == []


def test_has_the_columns_of_the_table():
    assert judge_labels(*agreeing()).columns.tolist() == LABEL_QUALITY.names


def test_unlabelled_rows_are_predicted_but_not_judged():
    predictions, given = agreeing()
    given[4] = -1
    predictions[5] = np.nan
    found = judge_labels(predictions, given)
    assert found.loc[4, ["given", "predicted", "alternative"]].tolist() == [-1, 1, -1]
    assert found.loc[5, ["predicted", "alternative"]].tolist() == [-1, -1]
    assert np.flatnonzero(found["probability_wrong"].isna()).tolist() == [4, 5]


def test_of_two_copies_with_different_labels_the_one_that_the_picture_contradicts_is_wrong():
    predictions, given = agreeing()
    predictions[4] = predictions[5] = [0.02, 0.68, 0.30]  # labelled 1 and 2
    alone, found = judge_labels(predictions, given), judge_labels(predictions, given, table(pair(4, 5)))
    assert found["probability_wrong"][5] > alone["probability_wrong"][5]
    assert found["alternative"][5] == 1
    assert found["probability_wrong"][4] < 0.5
    assert found["probability_wrong"][[4, 5]].sum() >= 1


def test_most_copies_are_right():
    predictions, given = agreeing()
    predictions[[0, 1, 3]] = [0.45, 0.45, 0.1]  # labelled 0, 1, 0
    found = judge_labels(predictions, given, table(pair(0, 1), pair(0, 3), pair(1, 3)))
    assert found["probability_wrong"][1] > 0.6 > 0.52 > found["probability_wrong"][0]


def test_copies_count_as_far_as_their_pair_is_certain():
    predictions, given = agreeing()
    sure, unsure = (judge_labels(predictions, given, table(pair(4, 5, "edited_copy", score)))["probability_wrong"][4] for score in (1.0, 0.2))
    assert judge_labels(predictions, given)["probability_wrong"][4] < unsure < sure


def test_a_copy_is_evidence_where_there_is_no_prediction():
    predictions, given = agreeing()
    predictions[[4, 5]] = np.nan
    found = judge_labels(predictions, given, table(pair(4, 5)))
    np.testing.assert_allclose(found["probability_wrong"][[4, 5]], 0.5, atol=0.1)
    assert found["alternative"][[4, 5]].tolist() == [2, 1]


@pytest.mark.parametrize(("relation", "second"), [("same_scene", 5), ("identical_bytes", 7), ("identical_bytes", 6)])
def test_scenes_equal_labels_and_missing_labels_are_no_conflict(relation, second):
    given = np.arange(10) % 3
    given[6] = -1
    assert not disagreeing_copies(table(pair(4, second, relation)), given)
