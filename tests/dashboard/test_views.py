"""Each page as Streamlit draws it, on a real run."""

import io
import json
import shutil

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from audit import open_run
from audit.review.decisions import Decisions
from audit.tables import SAMPLES
from audit.versions.comparison import compare
from dashboard.pictures import difference
from dashboard.text import literal
from dashboard.views import decisions
from reports.summary import summarize

pytestmark = pytest.mark.filterwarnings("ignore")

VIEWS = ("overview", "label_errors", "confusion", "duplicates", "quality", "bias", "decisions", "search", "compare")


def drawn(run, view):
    def page(path, name):
        from importlib import import_module

        from audit import open_run

        import_module(f"dashboard.views.{name}").show(open_run(path))

    test = AppTest.from_function(page, args=(str(run), view), default_timeout=60).run()
    assert not test.exception
    return test


def shown(test):
    return "\n".join(str(part.value) for kind in (test.markdown, test.caption, test.title, test.info, test.success) for part in kind)


def verdicts(run):
    current = Decisions(run).current()
    return dict(zip(current["finding_id"], current["verdict"], strict=True))


@pytest.mark.parametrize("view", VIEWS)
def test_every_page_is_drawn(demo_run, view):
    assert drawn(demo_run, view).title


@pytest.mark.parametrize("view", VIEWS)
def test_every_page_is_drawn_of_a_run_without_predictions_and_hostile_names(small_run, view):
    text = shown(drawn(small_run.path, view))
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_the_overview_tells_the_runs_numbers(demo_run):
    test = drawn(demo_run, "overview")
    run = open_run(demo_run)
    told = {metric.label: metric.value for metric in test.metric}
    assert told["Images"] == str(len(run))
    assert told["Findings"] == str(len(run.findings))
    flagged = run.findings.loc[run.findings["severity"] != "info", "sample_id"].nunique()
    assert told["Health"] == f"{1 - flagged / len(run):.1%}"
    assert len([button for button in test.button if button.label == "Review"]) == min(10, len(run.findings))
    table = test.dataframe[0].value.set_index("Check")
    for total in summarize(run).checks:
        assert table.loc[total.name.replace("_", " ").capitalize(), "Findings"] == total.findings


def test_a_finding_about_a_class_shows_its_examples(marked_run):
    test = drawn(marked_run.path, "bias")
    mark = marked_run.findings_page({"check": "marks"}).rows["finding_id"].item()
    test.session_state["bias position"] = test.session_state["bias queue"][1].index(mark)
    test.run()
    examples = json.loads(marked_run.findings_page({"check": "marks"}).rows["evidence"].item())["examples"]
    assert len(examples) == 5
    assert all(literal(name) in shown(test) for name in examples)
    assert "these show it" in shown(test)
    assert len(test.get("image")) == 5


def test_decide_and_undo(own_run):
    test = drawn(own_run, "label_errors")
    queue = test.session_state["labels queue"][1]
    test.button("decide_keep").click().run()
    assert verdicts(own_run) == {queue[0]: "keep"}
    test.button("decide_drop").click().run()
    assert verdicts(own_run) == {queue[0]: "keep", queue[1]: "drop"}
    test.button("decide_undo").click().run()
    assert verdicts(own_run) == {queue[0]: "keep"}
    assert test.session_state["labels position"] == 1


def test_relabel_takes_the_suggestion_or_what_is_chosen(own_run):
    run = open_run(own_run)
    test = drawn(own_run, "label_errors")
    queue = test.session_state["labels queue"][1]
    suggested = run.findings.set_index("finding_id").loc[queue, "suggested_label"]
    place = next(place for place, name in enumerate(suggested) if isinstance(name, str))
    for _ in range(place):
        test.button("decide_on").click().run()
    test.button("decide_relabel").click().run()
    test.button("decide_undo").click().run()
    test.selectbox(f"labels label {queue[place]}").select("retina").run()
    test.text_input("labels note").input("seen twice").run()
    test.button("decide_relabel").click().run()
    decision = Decisions(own_run).current().iloc[0]
    assert (decision["label"], decision["note"], decision["finding_id"]) == ("retina", "seen twice", queue[place])


def test_filters_and_bulk(own_run):
    test = drawn(own_run, "label_errors")
    test.multiselect("labels checks").select("label_errors").run()
    queue = test.session_state["labels queue"][1]
    assert set(open_run(own_run).findings.set_index("finding_id").loc[queue, "check"]) == {"label_errors"}
    test.session_state["labels mode"] = "Grid"
    test.run()
    test.checkbox("labels pick all 0").check().run()
    test.button("bulk_drop").click().run()
    assert verdicts(own_run) == dict.fromkeys(queue, "drop")
    test.button("decide_undo").click().run()
    assert verdicts(own_run) == {}


def test_exports_say_what_was_decided(own_run):
    test = drawn(own_run, "label_errors")
    queue = test.session_state["labels queue"][1]
    test.button("decide_drop").click().run()
    run = open_run(own_run)
    dropped = run.findings.set_index("finding_id").loc[queue[0], "sample_id"]
    table = pd.read_csv(io.BytesIO(decisions.exported(run, "drop-list", "csv")))
    assert table["sample_id"].tolist() == [dropped]
    for what, (_, ending, _) in decisions.EXPORTS.items():
        assert decisions.exported(run, what, ending)


def test_what_is_not_there_is_said_with_a_mend(tmp_path):
    def app(path):
        from dashboard.app import main

        main(path)

    test = AppTest.from_function(app, args=(str(tmp_path),)).run()
    assert not test.exception
    assert "run" in test.error[0].value
    assert "scan" in test.markdown[0].value


def test_what_the_backbone_went_by_is_shown_when_asked_for(demo_run):
    test = drawn(demo_run, "label_errors")
    assert "argued" not in shown(test)
    test.toggle(key="saliency labels").set_value(True).run()
    assert not test.exception
    assert "in red what argued for" in shown(test)


def test_two_versions_are_compared_as_diff_compares_them(small_run, tmp_path):
    before = tmp_path / "before"
    shutil.copytree(small_run.path, before)
    findings = pq.read_table(before / "findings/leakage.parquet")
    pq.write_table(findings.slice(1), before / "findings/leakage.parquet")
    samples = pq.read_table(before / "samples.parquet").to_pylist()
    samples[1]["label"] = "n2"
    pq.write_table(pa.Table.from_pylist(samples, SAMPLES), before / "samples.parquet")

    def app(old, new):
        from dashboard.state import open_finished
        from dashboard.views import compare

        compare._compare(open_finished(old), open_finished(new))

    test = AppTest.from_function(app, args=(str(before), str(small_run.path))).run()
    assert not test.exception
    told = compare(open_run(before), small_run)
    metrics = {metric.label: metric.value for metric in test.metric}
    states = told.findings["state"].value_counts()
    assert (metrics["New findings"], metrics["Fixed"]) == (str(states["new"]), "0")
    assert states["new"] == told.counts["relabelled"] == 1
    assert "1 relabelled" in "".join(markdown.value for markdown in test.markdown)
    assert metrics["Drift"] == "0.000"


def test_equal_pictures_differ_nowhere():
    def picture(color):
        stream = io.BytesIO()
        Image.new("RGB", (20, 10), color).save(stream, "PNG")
        return stream.getvalue()

    def brightest(data):
        return Image.open(io.BytesIO(data)).getextrema()[1]

    assert brightest(difference(picture("red"), picture("red"))) == 0
    assert brightest(difference(picture("red"), picture("blue"))) == 255
