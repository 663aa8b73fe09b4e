"""Draw each page with Streamlit on a real run."""

import io
import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

from audit import open_run
from audit.diff.comparison import compare
from audit.exports import exports
from audit.io.artifacts import write_json, write_table
from audit.review.agreement import precision
from audit.review.decisions import Decision, Decisions
from audit.review.decisions import decide as new_decisions
from audit.tables import FINDINGS, PAIRS, SAMPLES
from dashboard.components.history import siblings
from dashboard.components.page import plain
from dashboard.components.text import literal
from dashboard.components.verdicts import OF_IMAGES, decide_about
from dashboard.views import decisions, overview
from dashboard.views.search import matching_rows
from reports.content.summary import summarize
from reports.content.wording import check_title, percent

pytestmark = pytest.mark.filterwarnings("ignore")

VIEWS = ("overview", "label_errors", "confusion", "duplicates", "quality", "bias", "decisions", "search", "compare")


def drawn(run, view, **address):
    def page(path, name):
        from importlib import import_module

        from audit import open_run

        import_module(f"dashboard.views.{name}").show(open_run(path))

    test = AppTest.from_function(page, args=(str(run), view), default_timeout=60)
    for name, value in address.items():
        test.query_params[name] = value
    test.run()
    assert not test.exception
    return test


def shown(test):
    return "\n".join(str(part.value) for kind in (test.markdown, test.caption, test.title, test.info, test.success) for part in kind)


def verdicts(run):
    current = Decisions(run).current()
    return dict(zip(current["finding_id"], current["verdict"], strict=True))


@pytest.mark.parametrize("view", VIEWS)
def test_draws_every_page(demo_run, view):
    assert drawn(demo_run, view).title


@pytest.mark.parametrize("view", VIEWS)
def test_draws_every_page_without_predictions_and_with_hostile_names(small_run, view):
    text = shown(drawn(small_run.path, view))
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_overview_shows_the_numbers_of_the_run(demo_run):
    test = drawn(demo_run, "overview")
    run = open_run(demo_run)
    metrics = {metric.label: metric.value for metric in test.metric}
    assert metrics["Images"] == str(len(run))
    assert metrics["Findings"] == str(len(run.findings))
    flagged = run.findings.loc[run.findings["severity"] != "info", "sample_id"].nunique()
    assert metrics["Health"] == percent(1 - flagged / len(run))
    assert len([button for button in test.button if button.label == "Review"]) == min(10, len(run.findings))
    table = test.dataframe[0].value.set_index("Check")
    for total in summarize(run).checks:
        assert table.loc[check_title(total.name), "Findings"] == total.findings


def test_finding_about_a_class_shows_examples(marked_run):
    mark = marked_run.findings_page({"check": "marks"}).rows["finding_id"].item()
    test = drawn(marked_run.path, "bias", finding=mark)
    subjects = marked_run.findings_index.set_index("finding_id").loc[test.session_state["bias queue"][1], "subject"].tolist()
    assert subjects == sorted(subjects, key=lambda subject: subject == "sample")
    examples = json.loads(marked_run.findings_page({"check": "marks"}).rows["evidence"].item())["examples"]
    assert len(examples) == 5
    assert all(literal(name) in shown(test) for name in examples)
    assert "#### Class cat" in shown(test)
    buttons = [button.label.partition(" `")[0] for button in test.button if str(button.key).startswith("decide_")]
    assert buttons[:3] == ["Confirm", "Not a problem", "Not sure"]
    assert not test.selectbox
    assert "these are examples" in shown(test)
    assert len(test.get("image")) == 5


def decide(test, verdict):
    """Press the button of a verdict for the current finding."""
    return next(button for button in test.button if str(button.key).startswith(f"decide_{verdict}_")).click().run()


def test_decide_and_undo(own_run):
    test = drawn(own_run, "label_errors")
    queue = test.session_state["labels queue"][1]
    decide(test, "keep")
    assert verdicts(own_run) == {queue[0]: "keep"}
    decide(test, "drop")
    assert verdicts(own_run) == {queue[0]: "keep", queue[1]: "drop"}
    test.button("decide_undo").click().run()
    assert verdicts(own_run) == {queue[0]: "keep"}
    assert test.session_state["labels finding"] == queue[1]


def test_relabels_to_the_suggested_or_chosen_class(own_run):
    run = open_run(own_run)
    test = drawn(own_run, "label_errors")
    queue = test.session_state["labels queue"][1]
    suggested = run.findings.set_index("finding_id").loc[queue, "suggested_label"]
    index = next(index for index, name in enumerate(suggested) if isinstance(name, str))
    for _ in range(index):
        test.button("decide_on").click().run()
    decide(test, "relabel")
    test.button("decide_undo").click().run()
    test.selectbox(f"labels label {queue[index]}").select("retina").run()
    test.text_input(f"labels note {queue[index]}").input("seen twice").run()
    decide(test, "relabel")
    decision = Decisions(own_run).current().iloc[0]
    assert (decision["label"], decision["note"], decision["finding_id"]) == ("retina", "seen twice", queue[index])


def test_note_stays_with_its_finding(own_run):
    test = drawn(own_run, "label_errors")
    first, second = test.session_state["labels queue"][1][:2]
    test.text_input(f"labels note {first}").input("of the first").run()
    test.button("decide_on").click().run()
    assert test.text_input(f"labels note {second}").value == ""
    decide(test, "keep")
    test.button("decide_back").click().run()
    test.button("decide_back").click().run()
    assert test.text_input(f"labels note {first}").value == "of the first"
    assert Decisions(own_run).current()["note"].tolist() == [""]


def test_marks_a_new_class(own_run):
    test = drawn(own_run, "label_errors")
    field = test.selectbox(f"labels label {test.session_state['labels finding']}")
    assert field.format_func("tabbby") == "tabbby (new class)"
    assert field.format_func("retina") == "retina"


def test_shows_decisions_about_a_finding_with_notes(own_run):
    run = open_run(own_run)
    worst = run.findings_page({"check": "label_errors"}, limit=1).rows
    for who, verdict, note in (("ann", "drop", "blurred"), ("bob", "keep", "")):
        Decisions(own_run).append(new_decisions(run, worst, verdict, reviewer=who, note=note))
    test = drawn(own_run, "label_errors", finding=worst["finding_id"].item())
    assert "**ann** Drop\\: blurred  \n**bob** Not a problem" in shown(test)
    assert "Disputed" in shown(test)


def test_address_contains_finding_and_filters(own_run):
    queue = drawn(own_run, "quality").session_state["quality queue"][1]
    third = drawn(own_run, "quality", finding=queue[2])
    assert third.session_state["quality finding"] == queue[2]
    assert third.query_params["finding"] == queue[2]
    third.button("decide_on").click().run()
    assert third.query_params["finding"] == queue[3]
    filtered = drawn(own_run, "quality", checks=["integrity"], mode=["Grid"], kinds=["no such kind"])
    assert {entry.label for entry in filtered.button if "Open" in entry.label}
    assert "finding" not in filtered.query_params
    index = open_run(own_run).findings_index.set_index("finding_id")
    assert set(index.loc[filtered.session_state["quality queue"][1], "check"]) == {"integrity"}
    assert filtered.session_state["quality kinds"] == []
    gone = drawn(own_run, "quality", finding="0" * 16)
    assert "does not exist in this run" in gone.warning[0].value


def test_linked_finding_clears_filters_that_hide_it(own_run):
    queue = drawn(own_run, "quality").session_state["quality queue"][1]
    test = drawn(own_run, "quality", finding=queue[2], state="decided")
    assert (test.session_state["quality finding"], test.session_state["quality state"]) == (queue[2], "all")


def test_page_starts_with_the_first_undecided_finding(own_run):
    test = drawn(own_run, "label_errors")
    queue = test.session_state["labels queue"][1]
    decide(test, "keep")
    assert drawn(own_run, "label_errors").session_state["labels finding"] == queue[1]


def test_filters_and_bulk(own_run):
    test = drawn(own_run, "label_errors")
    test.pills("labels checks").select("label_errors").run()
    queue = test.session_state["labels queue"][1]
    assert set(open_run(own_run).findings.set_index("finding_id").loc[queue, "check"]) == {"label_errors"}
    test.session_state["labels mode"] = "Grid"
    test.run()
    test.checkbox("labels pick all 0").check().run()
    test.button("bulk_drop").click().run()
    assert verdicts(own_run) == dict.fromkeys(queue, "drop")
    test.button("decide_undo").click().run()
    assert verdicts(own_run) == {}


def test_counts_and_clears_filters(own_run):
    test = drawn(own_run, "quality")
    whole = test.session_state["quality queue"][1]
    test.multiselect("quality severities").select("error").run()
    assert [part.proto.popover.label for part in test.get("popover")] == ["Filters (1)"]
    assert len(test.session_state["quality queue"][1]) < len(whole)
    test.button("quality clear").click().run()
    assert test.session_state["quality queue"][1] == whole


def test_skips_findings_to_which_a_verdict_does_not_apply(marked_run, tmp_path):
    run = open_run(shutil.copytree(marked_run.path, tmp_path / "run"))
    (mark,) = run.findings_page({"check": "marks"}).rows["finding_id"]
    assert decide_about(run, [mark], "drop", OF_IMAGES) == 0
    assert decide_about(run, [mark], "accept", OF_IMAGES) == 1
    assert verdicts(run.path) == {mark: "accept"}
    assert precision(Decisions(run.path).current(), run.findings_index).set_index("check").loc["marks", "right"] == 1


def test_warns_if_both_copies_are_dropped(own_run):
    run = open_run(own_run)
    copies = run.findings_page({"check": "exact_duplicates", "kind": "identical_bytes"}).rows
    copy = plain(copies.iloc[0].to_dict())
    Decisions(own_run).append(
        [Decision(verdict="drop", reviewer="ann", content_id=copy["content_id"], sample_id=copy["evidence"]["partner"], copies=2)]
    )
    test = drawn(own_run, "duplicates", finding=copy["finding_id"])
    assert "already dropped" in test.warning[0].value
    assert not drawn(own_run, "decisions").warning
    decide(test, "drop")
    assert "All copies are dropped" in drawn(own_run, "decisions").warning[0].value
    assert literal(copy["evidence"]["partner"]) in drawn(own_run, "decisions").warning[0].value


def test_exports_contain_decisions(own_run):
    test = drawn(own_run, "label_errors")
    queue = test.session_state["labels queue"][1]
    decide(test, "drop")
    run = open_run(own_run)
    dropped = run.findings.set_index("finding_id").loc[queue[0], "sample_id"]
    table = pd.read_csv(io.BytesIO(decisions.exported(run, "drop-list", ".csv")))
    assert table["sample_id"].tolist() == [dropped]
    for what, known in exports().items():
        assert known.writes_folder or decisions.exported(run, what, known.endings[0])


def test_missing_run_shows_error_and_hint(tmp_path):
    def app(path):
        from dashboard.app import main

        main(path)

    test = AppTest.from_function(app, args=(str(tmp_path),)).run()
    assert not test.exception
    assert "run" in test.error[0].value
    assert "scan" in test.markdown[0].value


def test_shows_saliency_map_on_request(demo_run):
    test = drawn(demo_run, "label_errors")
    assert "support the class" not in shown(test)
    test.toggle(key="saliency labels").set_value(True).run()
    assert not test.exception
    assert "Red parts support the class" in shown(test)


def test_shows_only_the_image_if_it_has_no_class(own_run, monkeypatch):
    monkeypatch.setattr("audit.explain.saliency.classes_of", lambda run, row: [])
    test = drawn(own_run, "label_errors")
    test.toggle(key="saliency labels").set_value(True).run()
    assert not test.exception
    assert "Only the image is shown" in shown(test)
    assert "support the class" not in shown(test)


def test_offers_saliency_map_of_outliers_only(own_run):
    (row,) = pq.read_table(own_run / "findings/label_errors.parquet").slice(0, 1).to_pylist()
    outlier = row | {"check": "outliers", "kind": "outlier", "finding_id": "0" * 16}
    pq.write_table(pa.Table.from_pylist([outlier], FINDINGS), own_run / "findings/outliers.parquet")
    assert not drawn(own_run, "quality").toggle
    test = drawn(own_run, "quality", finding=outlier["finding_id"])
    test.toggle(key="saliency quality").set_value(True).run()
    assert not test.exception
    assert "Red parts support the class" in shown(test)


def test_compare_page_agrees_with_diff(small_run, tmp_path):
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
    difference = compare(open_run(before), small_run)
    metrics = {metric.label: metric.value for metric in test.metric}
    states = difference.findings["state"].value_counts()
    assert (metrics["New findings"], metrics["Fixed findings"]) == (f"0 (+{states['new']} indirect)", "0")
    assert states["new"] == difference.counts["relabelled"] == 1
    assert "1 relabelled" in "".join(markdown.value for markdown in test.markdown)
    assert metrics["Drift"] == "0.000"


def test_describes_where_copies_differ(own_run):
    path = own_run / "pairs.parquet"
    pairs = pq.read_table(path).to_pylist()
    run = open_run(own_run)
    resized = run.findings_page({"check": "near_duplicates", "kind": "re_encoded"}).rows.iloc[0]
    row = int(run.rows_of([resized["sample_id"]])[0])
    pair = next(pair for pair in pairs if row in (pair["i"], pair["j"]))
    of_the_first = row == pair["i"]
    pair["evidence"] = json.dumps({"transform": [1.25, 0, -0.125, 0, 1.25, -0.125] if of_the_first else [0.8, 0, 0.1, 0, 0.8, 0.1], "mirrored": True})
    write_table(path, pa.Table.from_pylist(pairs, PAIRS))
    test = drawn(own_run, "duplicates", finding=resized["finding_id"])
    assert "at the best alignment, mirrored" in shown(test)
    (alt,) = (image.proto.imgs[0].alt for image in test.get("image") if image.proto.imgs[0].alt.startswith("Where"))
    uncovered = alt.removeprefix("Where the two images differ. ")
    assert uncovered.startswith("Striped blue: not covered by the second image (3")
    assert uncovered in shown(test)
    copy = run.findings_page({"check": "exact_duplicates"}, limit=1).rows["finding_id"].item()
    assert "edge to edge" in shown(drawn(own_run, "duplicates", finding=copy))
    path.unlink()
    assert "edge to edge" in shown(drawn(own_run, "duplicates", finding=copy))


def test_search_finds_images_by_name_class_and_content(own_run):
    run = open_run(own_run)
    test = drawn(own_run, "search")
    test.text_input("search name").input("CAT").run()
    assert not test.exception
    assert all("cat" in f"{name} {label}".lower() for name, label in run.columns("sample_id", "label", rows=matching_rows(run, "CAT")).to_numpy())
    assert test.query_params["image"] == "CAT"
    content = run.samples["content_id"].dropna().iloc[3]
    assert matching_rows(run, content[:10].upper()).tolist() == np.flatnonzero(run.samples["content_id"] == content).tolist()
    assert not len(matching_rows(run, "no such name"))
    flagged = run.findings["sample_id"].dropna().iloc[0]
    assert "Findings:" in shown(drawn(own_run, "search", image=flagged))


def test_search_finds_a_class_by_its_words(small_run):
    assert matching_rows(small_run, "felis").tolist() == [0, 1]
    assert matching_rows(small_run, "N2").tolist() == [2, 3, 4]


def test_unavailable_export_shows_the_reason(small_run):
    small_run.record["checks"]["leakage"] = {"state": "skipped", "reason": "no splits in this dataset", "findings": 0}
    write_json(small_run.path / "run.json", small_run.record)
    test = drawn(small_run.path, "decisions")
    button = next(button for button in test.get("download_button") if "Clean split" in button.proto.label)
    assert button.proto.disabled
    assert "Clean split: no splits in this dataset" in shown(test)


def test_numbers_are_current_after_an_import(own_run):
    sheet = f"finding_id,verdict\n{open_run(own_run).findings['finding_id'].iloc[0]},keep\n".encode()
    test = drawn(own_run, "decisions")
    test.file_uploader("import file").upload("mine.csv", sheet, "text/csv").run()
    test.button("import").click().run()
    assert "Imported 1 decisions from mine" in shown(test)
    assert test.metric[0].value == "1"
    test.file_uploader("import file").upload("bad.csv", b"hello,world\n1,2\n", "text/csv").run()
    test.button("import").click().run()
    assert literal("bad.csv: has no column") in test.error[0].value
    test.file_uploader("import file").upload("bad.csv", sheet.replace(b"keep", b"keeep"), "text/csv").run()
    test.button("import").click().run()
    assert literal("bad.csv, line 2: unknown verdict") in test.error[0].value


def test_internal_error_asks_for_a_bug_report(small_run, monkeypatch, caplog):
    def broken(_):
        raise TypeError("of the view")

    monkeypatch.setattr(overview, "_scanned", lambda *_: broken(None))

    def app(path):
        from dashboard.app import main

        main(path)

    test = AppTest.from_function(app, args=(str(small_run.path),), default_timeout=60).run()
    assert not test.exception
    assert "TypeError" in test.error[0].value
    assert "report this bug" in shown(test)
    assert "of the view" in caplog.text


def test_sidebar_shows_scan_time_and_moved_dataset(small_run):
    write_json(small_run.path / "run.json", small_run.record | {"finished_at": "2026-01-31T12:00:00+00:00"})

    def app(path):
        from dashboard.app import main

        main(path)

    test = AppTest.from_function(app, args=(str(small_run.path),), default_timeout=60).run()
    captions = "\n".join(str(part.value) for part in test.sidebar.caption)
    assert "Scanned 2026-01-31 12:00 UTC" in captions
    assert "was moved since the scan" in captions


def test_empty_page_lists_skipped_checks(small_run):
    write_table(small_run.path / "findings/conflicting_labels.parquet", pa.Table.from_pylist([], FINDINGS))
    test = drawn(small_run.path, "label_errors")
    assert [box.value for box in test.success] == ["No findings."]
    assert [text.value for text in test.markdown] == ["Checks that did not run:\n- **Label errors**: no predictions"]


def test_lists_sibling_runs_of_the_same_dataset_first(small_run):
    for name, location in (("a-other", "/data/birds"), ("b-same", "/data/pets")):
        other = small_run.path.with_name(name)
        shutil.copytree(small_run.path, other)
        write_json(other / "run.json", small_run.record | {"source": {"kind": "folder", "location": location}})
    (small_run.path / "run.json").touch()
    found = siblings(open_run(small_run.path))
    assert [(sibling.path.name, sibling.same_dataset) for sibling in found] == [("b-same", True), ("a-other", False)]
