"""What cards show of a real run."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit import open_run
from audit.io.artifacts import write_table
from audit.review.decisions import Decision
from audit.tables import PAIRS
from dashboard.api import content, pictures
from dashboard.api.decide import Order, decide
from dashboard.api.desk import Desk
from dashboard.api.queues import Wanted, queue
from dashboard.api.typical import likeliest, typical


@pytest.fixture(scope="module")
def desk(demo_run):
    return Desk(open_run(demo_run))


def page(desk, name):
    return content.cards(desk, queue(desk, Wanted(name, {})).ids)


@pytest.mark.parametrize("name", ["labels", "confusion", "duplicates", "quality", "bias", "images"])
def test_every_card_is_plain_data(desk, name):
    cards = page(desk, name)
    assert json.loads(json.dumps(cards, allow_nan=False)) == cards
    for card in cards:
        assert card["kind"] == {0: "group", 1: "image", 2: "pair"}[len(card["images"])]
        assert ("drop" in card["actions"]) == bool(card["images"])
        assert {image["row"] for image in card["images"]}.isdisjoint(image["row"] for row in card["examples"] for image in row["images"])


def test_no_image_has_two_cards_on_the_label_page(desk):
    shown = [image["row"] for card in page(desk, "labels") for image in card["images"]]
    assert len(shown) == len(set(shown))


def test_a_wrong_label_comes_with_its_likeliest_classes(desk):
    run = desk.run
    for card in page(desk, "labels"):
        given = {image["label"] for image in card["images"]}
        if card["kind"] == "image":
            assert given.isdisjoint(choice["label"] for choice in card["choices"])
            likely = [name for name, _ in likeliest(run, card["images"][0]["row"], *given, 3)]
            assert set(likely[:1]) <= {choice["label"] for choice in card["choices"]}
            assert [row["given"] for row in card["examples"]] == [True, False]
        else:
            assert {choice["label"] for choice in card["choices"][:2]} == given, "a pair offers both labels, the wrong one is not filled in"


def test_examples_of_a_class_are_typical(desk):
    run = desk.run
    flagged = set(run.rows_of(run.findings_index.loc[run.findings_index["severity"] != "info", "sample_id"].dropna().tolist()).tolist())
    quality = run.label_quality
    for name in run.classes:
        rows = typical(run, name)
        assert (quality["given"].iloc[list(rows)] == run.classes.index(name)).all()
        assert (quality["predicted"].iloc[list(rows)] == run.classes.index(name)).all()
        assert flagged.isdisjoint(rows[:3])


def test_examples_without_predictions_are_spread(small_run):
    assert typical(small_run, "n2") == (2, 3, 4)
    assert likeliest(small_run, 0, None, 3) == []


def test_a_finding_about_a_class_shows_its_examples(marked_run):
    desk = Desk(marked_run)
    mark = marked_run.findings_page({"check": "marks"}).rows
    (card,) = content.cards(desk, mark["finding_id"].tolist())
    (row,) = card["examples"]
    assert [image["name"] for image in row["images"]] == json.loads(mark["evidence"].item())["examples"]
    assert all(image["boxes"] for image in row["images"])
    assert (card["about"], card["actions"]) == ("Class cat", ["accept", "keep", "unsure"])


def test_warns_if_a_copy_is_dropped(own_run):
    desk = Desk(open_run(own_run))
    copy = desk.run.findings_page({"check": "exact_duplicates", "kind": "identical_bytes"}).rows.iloc[0]
    (card,) = content.cards(desk, [copy["finding_id"]])
    assert card["warning"] == ""
    desk.decisions.append(
        [Decision(verdict="drop", reviewer="ann", content_id=copy["content_id"], sample_id=json.loads(copy["evidence"])["partner"], copies=2)]
    )
    (card,) = content.cards(desk, [copy["finding_id"]])
    assert "none is left" in card["warning"]


def test_decisions_of_reviewers_are_shown_with_notes(own_run):
    desk = Desk(open_run(own_run))
    first = queue(desk, Wanted("labels", {})).ids[0]
    for who, verdict, note in (("ann", "drop", "blurred"), ("bob", "keep", "")):
        decide(desk, Order((first,), verdict, who, note=note))
    (card,) = content.cards(desk, [first])
    shown = {(line["reviewer"], line["verdict"], line["note"]) for line in card["decisions"]}
    assert {("ann", "Drop", "blurred"), ("bob", "Not a problem", "")} <= shown
    assert card["verdict"] == "disputed"


def test_describes_where_copies_differ(own_run):
    path = own_run / "pairs.parquet"
    pairs = pq.read_table(path).to_pylist()
    run = open_run(own_run)
    resized = run.findings_page({"check": "near_duplicates"}).rows.iloc[0]
    row, other = run.rows_of([resized["sample_id"], json.loads(resized["evidence"])["partner"]]).tolist()
    pair = next(pair for pair in pairs if row in (pair["i"], pair["j"]))
    forward, backward = [0.8, 0, 0.1, 0, 0.8, 0.1], [1.25, 0, -0.125, 0, 1.25, -0.125]
    pair["evidence"] = json.dumps({"transform": backward if row == pair["i"] else forward, "mirrored": True})
    write_table(path, pa.Table.from_pylist(pairs, PAIRS))
    found = pictures.difference(open_run(own_run), row, other)
    assert "at the best alignment, mirrored" in found["caption"]
    assert "Striped blue: not covered by the second image (3" in found["caption"]
    assert found["image"].startswith("data:image/png;base64,")
    path.unlink()
    assert "edge to edge" in pictures.difference(open_run(own_run), row, other)["caption"]


def test_saliency_names_the_classes(desk, monkeypatch):
    assert "Red parts support the class" in pictures.saliency(desk.run, 0)["caption"]
    monkeypatch.setattr("audit.explain.saliency.classes_of", lambda run, row: [])
    assert "Only the image is shown" in pictures.saliency(desk.run, 1)["caption"]
