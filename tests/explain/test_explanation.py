import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import AuditError
from audit.explain.explanation import COMPARED, explain, find_sample
from audit.explain.text import lines
from audit.run.run import Run


def text_of(image):
    return "\n".join(lines(image))


@pytest.fixture
def samples():
    ids = ["train/cat/1.jpg", "train/cat/11.jpg", "val/cat/1.jpg", "train/dog/7.jpg", "deadbeef.jpg"]
    return pd.DataFrame({"sample_id": ids, "content_id": ["aa11ff" * 8, "aa11ee" * 8, "bb" * 24, None, "cc" * 24]})


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("train/cat/1.jpg", 0),
        ("train/cat/11.jpg", 1),
        ("val/cat/1.jpg", 2),
        ("dog/7.jpg", 3),
        ("/dog/7.jpg", 3),
        ("7.jpg", 3),
        ("beef.jpg", 4),
        ("aa11ffaa", 0),
        ("AA11EE", 1),
        ("bbbbbb", 2),
    ],
)
def test_finds_the_image_that_is_meant(samples, text, row):
    assert find_sample(samples, text) == row


@pytest.mark.parametrize("text", ["1.jpg", "cat/1.jpg", ".jpg"])
def test_an_ambiguous_name_is_told(samples, text):
    with pytest.raises(AuditError, match=r"means [235] images; name one of them: 'train/cat/1.jpg', "):
        find_sample(samples, text)


@pytest.mark.parametrize("text", ["train/cat/12.jpg", "tran/cat/11.jpg", "train/cat/11.jpeg"])
def test_a_typo_names_the_nearest(samples, text):
    with pytest.raises(AuditError, match=r"no such image in this run; did you mean 'train/cat/1"):
        find_sample(samples, text)


def test_an_image_named_like_nothing_here(samples):
    with pytest.raises(AuditError, match="no such image in this run; see the sample_id column"):
        find_sample(samples, "ZZZZ?")


def test_no_images_at_all(samples):
    with pytest.raises(AuditError, match="no such image"):
        find_sample(samples.iloc[:0], "x")


@given(st.integers(0, 4 * COMPARED), st.booleans())
def test_a_typo_at_either_end_is_found_among_many(number, at_the_end):
    ids = [f"{(number * 7919) % 1000:03}/part-{number:04}.jpg" for number in range(4 * COMPARED + 1)]
    many = pd.DataFrame({"sample_id": ids, "content_id": [None] * len(ids)})
    typo = ids[number] + "x" if at_the_end else "x" + ids[number]
    with pytest.raises(AuditError) as caught:
        find_sample(many, typo)
    assert caught.value.hint == f"did you mean {ids[number]!r}?"


def test_tells_identity_findings_partners_and_neighbors(small_run):
    image = explain(small_run, 0)
    assert (image.sample_id, image.split, image.labels, image.outcome) == ("train/cat/1.jpg", "train", ("n1",), "ok")
    assert image.class_words == {"n1": "cat, felis", "n2": "dog"}
    assert [finding["finding_id"] for finding in image.findings] == ["f1"]
    assert [finding["finding_id"] for finding in image.class_findings] == ["f8"]
    assert [(other.sample_id, other.relation, other.evidence) for other in image.same_picture] == [
        ("train/dog/1.jpg", "identical_bytes", {"bytes": 1001})
    ]
    assert [(other.sample_id, other.score) for other in image.neighbors] == [("train/dog/1.jpg", 0.9), ("train/cat/2.jpg", 0.5)]
    assert image.not_run == {"label_errors": "no predictions"}
    assert {score.check: score.score for score in image.scores}["leakage"] == 0.1
    assert next(score.worse_than for score in image.scores) == 0.2


def test_a_pair_is_told_from_both_sides(small_run):
    assert [other.sample_id for other in explain(small_run, 2).same_picture] == ["train/cat/1.jpg"]


def test_measures_are_placed_among_the_others(small_run):
    measures = {measure.name: measure for measure in explain(small_run, 4).measures}
    assert measures["brightness"].above == pytest.approx(3 / 5)
    assert measures["format"].above is None
    assert "contrast" not in measures


def test_a_failed_image_says_why(small_run):
    image = explain(small_run, 3)
    assert (image.outcome, image.error, image.neighbors) == ("truncated", "ends after 3 of 9 blocks", ())
    assert "truncated: ends after 3 of 9 blocks" in text_of(image)
    assert "none: the image has no embedding" in text_of(image)


@pytest.mark.parametrize("row", range(6))
def test_every_image_renders_and_serialises(small_run, row):
    image = explain(small_run, row)
    text = text_of(image)
    assert all(line.isprintable() for line in text.splitlines())
    assert "\x1b" not in text
    assert json.loads(json.dumps(image.as_dict(), allow_nan=False))["row"] == row


def test_text_holds_the_reasons(small_run):
    text = text_of(explain(small_run, 4))
    assert "leakage: re_encoded" in text
    assert "cosine: 0.991" in text
    assert "(0 of 2 have its label)" not in text
    assert "(1 of 2 have its label)" in text
    assert r"\x1b[31mred\nline\u202egpj.jpg" in text


def test_scores_that_do_not_apply_are_left_out(small_run):
    assert explain(small_run, 3).scores == ()
    assert np.isnan(small_run.scores("leakage")[3])


def test_of_all_findings_only_those_about_the_image_and_its_class_are_read_whole(marked_run):
    run = Run(marked_run.path)
    mark = run.findings_page({"check": "marks"}).rows.iloc[0]
    row = int(run.rows_of([json.loads(mark["evidence"])["examples"][0]])[0])
    told = explain(run, row)
    assert "findings" not in vars(run)
    whole = run.findings
    assert [finding["finding_id"] for finding in told.findings] == whole.loc[whole["sample_id"] == told.sample_id, "finding_id"].tolist()
    of_class = whole[(whole["subject"] == "class") & whole["label"].isin(told.labels)]
    assert [finding["finding_id"] for finding in told.class_findings] == of_class["finding_id"].tolist()
    assert mark["finding_id"] in of_class["finding_id"].tolist()
