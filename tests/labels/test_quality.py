import numpy as np
import pandas as pd
import pytest

from audit.labels.quality import judge_labels, label_codes
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


def test_of_two_copies_the_one_contradicted_by_the_prediction_is_wrong():
    predictions, given = agreeing()
    predictions[4] = predictions[5] = [0.02, 0.68, 0.30]  # labelled 1 and 2
    alone, found = judge_labels(predictions, given), judge_labels(predictions, given, table(pair(4, 5)))
    assert found["probability_wrong"][5] > alone["probability_wrong"][5]
    assert found["alternative"][5] == 1
    assert found["probability_wrong"][4] < 0.5
    assert found["probability_wrong"][[4, 5]].sum() >= 1


def test_majority_of_copies_is_right():
    predictions, given = agreeing()
    predictions[[0, 1, 3]] = [0.45, 0.45, 0.1]  # labelled 0, 1, 0
    found = judge_labels(predictions, given, table(pair(0, 1), pair(0, 3), pair(1, 3)))
    assert found["probability_wrong"][1] > 0.85 > 0.15 > found["probability_wrong"][[0, 3]].max()


@pytest.mark.parametrize("odd", range(5))
def test_of_five_copies_the_outvoted_one_is_wrong_in_any_row(pairs_of_sets, odd):
    predictions, given = agreeing()
    given[:5] = 0
    given[odd] = 1
    predictions[:5] = [0.35, 0.6, 0.05]  # the models agree with the odd one
    alone = judge_labels(predictions, given)
    found = judge_labels(predictions, given, pairs_of_sets([0] * 5 + list(range(5, 300))))
    wrong = found["probability_wrong"][:5].to_numpy()
    assert np.flatnonzero(wrong > 0.5).tolist() == [odd]
    np.testing.assert_allclose(np.delete(wrong, odd), 1 - wrong[odd], atol=1e-3)
    assert found["alternative"][:5].tolist() == [0 if row == odd else 1 for row in range(5)]
    assert (np.delete(found["score"][:5].to_numpy(), odd) < np.delete(alone["score"][:5].to_numpy(), odd)).all()
    pd.testing.assert_frame_equal(found[5:], alone[5:])


@pytest.mark.parametrize("seed", range(20))
def test_judgments_do_not_depend_on_row_order(pairs_of_sets, seed):
    draw = np.random.default_rng(seed)
    sets = draw.integers(0, 30, 60)
    predictions = draw.dirichlet(np.ones(3), 30)[sets].astype(np.float32)
    given = draw.integers(-1, 3, 60)
    near = {tuple(sorted(draw.choice(30, 2, replace=False).tolist())): float(draw.uniform(0.5, 1)) for _ in range(10)}

    def judged(order):
        first = {number: int(np.flatnonzero(sets[order] == number)[0]) for number in np.unique(sets)}
        links = [
            pair(*sorted((first[a], first[b])), "edited_copy", score)  # near copies are compared by the first of each kind
            for (a, b), score in near.items()
            if a in first and b in first
        ]
        pairs = pd.concat([pairs_of_sets(sets[order].tolist()), table(*links)], ignore_index=True)
        return judge_labels(predictions[order], given[order], pairs)

    order = draw.permutation(60)
    first, again = judged(np.arange(60)).iloc[order].reset_index(drop=True), judged(order)
    np.testing.assert_allclose(again["probability_wrong"], first["probability_wrong"], atol=1e-6)
    np.testing.assert_allclose(again["score"], first["score"], atol=1e-6)
    assert again["alternative"].tolist() == first["alternative"].tolist()


def test_thousand_copies_are_judged_like_few(pairs_of_sets):
    predictions, given = agreeing(1300)
    given[:1000] = np.where(np.arange(1000) < 400, 1, 0)
    found = judge_labels(predictions, given, pairs_of_sets([0] * 1000 + list(range(1000, 1300))))
    assert np.isfinite(found["probability_wrong"]).all()
    assert (found["probability_wrong"][:1000].to_numpy() > 0.5).tolist() == [True] * 400 + [False] * 600


def test_copy_of_a_copy_is_weighted_by_the_weaker_link():
    predictions, given = agreeing()
    found = {}
    for score in (0.95, 0.6):
        links = table(pair(4, 7, "edited_copy", 0.95), pair(7, 5, "edited_copy", score))  # labelled 1, 1 and 2
        found[score] = judge_labels(predictions, given, links)["probability_wrong"]
    alone = judge_labels(predictions, given)["probability_wrong"]
    assert alone[5] < found[0.6][5] < found[0.95][5]
    assert (found[0.95][[4, 7]] < found[0.95][5]).all()


def test_copies_are_weighted_by_certainty():
    predictions, given = agreeing()
    predictions[4] = [0.5, 0.35, 0.15]  # labelled 1
    sure, unsure = (judge_labels(predictions, given, table(pair(4, 5, "edited_copy", score)))["probability_wrong"][4] for score in (1.0, 0.2))
    alone = judge_labels(predictions, given)["probability_wrong"][4]
    assert sure > 0.1 > alone
    assert unsure == pytest.approx(0.2 * sure + 0.8 * alone)


def test_copy_is_evidence_without_a_prediction():
    predictions, given = agreeing()
    predictions[[4, 5]] = np.nan
    found = judge_labels(predictions, given, table(pair(4, 5)))
    np.testing.assert_allclose(found["probability_wrong"][[4, 5]], 0.5, atol=0.1)
    assert found["alternative"][[4, 5]].tolist() == [2, 1]
