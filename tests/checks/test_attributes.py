import numpy as np
import pandas as pd
import pytest

from audit.checks import Missing
from audit.checks.attributes import Options, Question, _Answer, _of_classes, read_question
from audit.errors import ConfigError

PLACES = {"questions": ("place: indoors | outdoors",)}


def encode_text(texts):
    """Stand in for a text tower: an axis for each known word."""
    return np.eye(4, dtype=np.float32)[[{"indoors": 0, "outdoors": 1}[text] for text in texts]]


def pictures(axes):
    vectors = np.eye(4)[axes] + 0.05
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


@pytest.fixture
def found(run_named, samples_of):
    def run(labels, axes, options=PLACES, **more):
        samples = samples_of([{"label": label} for label in labels])
        tables = {"samples": samples, "embeddings": pictures(np.asarray(axes)), "encode_text": encode_text, "class_words": {}} | more
        return run_named("attributes", options, **tables)

    return run


def test_reports_class_outdoors_with_examples(found):
    labels = ["canoe"] * 30 + ["cup"] * 60
    result = found(labels, [1] * 29 + [0] + [0, 0, 1] * 20)
    dataset, canoe, cup = result.findings
    assert dataset.evidence["shares"] == pytest.approx({"indoors": 41 / 90, "outdoors": 49 / 90})
    assert (canoe.label, canoe.evidence["answer"]) == ("canoe", "outdoors") or (cup.label, cup.evidence["answer"]) == ("canoe", "outdoors")
    one = next(finding for finding in result.findings if finding.label == "canoe")
    assert (one.evidence["share"], one.evidence["usual"]) == pytest.approx((29 / 30, 20 / 60))
    assert len(one.evidence["examples"]) == 5
    assert "97% of the images of 'canoe' are classified as 'outdoors', compared with 33% of the other classes" in one.message


def test_ignores_similar_and_small_classes(found):
    alike = found(["a"] * 40 + ["b"] * 40, [0, 1] * 40)
    assert [finding.kind for finding in alike.findings] == ["answers"]
    small = found(["a"] * 10 + ["b"] * 40, [1] * 10 + [0] * 40)
    assert "a" not in [finding.label for finding in small.findings]


def test_counts_copies_once(found, pairs_of):
    """Five distinct images, four of them outdoors, in eight copies each."""
    labels, axes = ["canoe"] * 40 + ["cup"] * 60, [0] * 8 + [1] * 32 + [0, 0, 1] * 20
    copies = pairs_of([(at - at % 8, at, "re_encoded", 1.0, at - at % 8) for at in range(40) if at % 8])
    assert {finding.label for finding in found(labels, axes).findings if finding.label} == {"canoe", "cup"}
    options = {**PLACES, "fewest": 5}
    (dataset,) = found(labels, axes, options, pairs=copies).findings
    assert (dataset.evidence["images"], dataset.evidence["pictures"]) == (100, 65)
    assert dataset.evidence["shares"] == pytest.approx({"indoors": 41 / 65, "outdoors": 24 / 65})
    assert [finding.kind for finding in found(labels, axes, pairs=copies).findings] == ["answers"]


def test_small_true_differences_add_no_false_findings():
    """Large classes that truly differ, but less than is reported, and classes of twenty that differ by chance."""
    random = np.random.default_rng(4)
    labels = np.repeat([f"large {at}" for at in range(300)] + [f"small {at}" for at in range(300)], [500] * 300 + [20] * 300)
    chance = np.where(np.char.startswith(labels, "large"), np.where(np.arange(len(labels)) // 500 % 2 == 0, 0.4, 0.6), 0.5)
    sure = random.random(len(labels)) < chance
    table = pd.DataFrame({"label": labels, "content_id": "", "sample_id": ""})
    found = _of_classes(table, np.arange(len(labels)), [_Answer("place", "indoors", sure.astype(np.float32))], {}, Options())
    assert [finding.label for finding in found] == []


def test_counts_low_probabilities_as_unsure(found):
    result = found(["a"] * 30, [2] * 30)
    assert result.findings[0].evidence["unsure"] == 1


def test_is_skipped_without_text_tower(found):
    assert found(["a"], [0], encode_text=Missing("the backbone has no text tower")).reason == "the backbone has no text tower"


def test_parses_or_refuses_questions(found):
    assert read_question(" view : from above | from the side ") == Question("view", ("from above", "from the side"))
    for wrong in ("no answers", "one: answer", "twice: a | a", ": a | b", "empty: a | "):
        with pytest.raises(ConfigError, match="is not a valid question; write 'name: answer"):
            found(["a"], [0], options={"questions": (wrong,)})
