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
from audit.review.decisions import Decision, Decisions
from audit.review.decisions import decide as new_decisions
from audit.tables import FINDINGS, SAMPLES
from dashboard.api.search import matching_rows
from dashboard.components.history import siblings
from dashboard.components.text import literal
from dashboard.views import decisions, overview
from reports.content.summary import summarize
from reports.content.wording import check_title, percent

pytestmark = pytest.mark.filterwarnings("ignore")

VIEWS = ("overview", "label_errors", "confusion", "duplicates", "quality", "bias", "images", "decisions", "search", "compare")


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
    test = drawn(demo_run, view)
    assert test.title or test.get("bidi_component")


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


def test_exports_contain_decisions(own_run):
    run = open_run(own_run)
    worst = run.findings_page({"check": "label_errors"}, limit=1).rows
    Decisions(own_run).append(new_decisions(run, worst, "drop", reviewer="ann"))
    table = pd.read_csv(io.BytesIO(decisions.exported(run, "drop-list", ".csv")))
    assert table["sample_id"].tolist() == worst["sample_id"].tolist()
    for what, known in exports().items():
        assert known.writes_folder or decisions.exported(run, what, known.endings[0])


def test_warns_if_all_copies_are_dropped(own_run):
    run = open_run(own_run)
    copy = run.findings_page({"check": "exact_duplicates", "kind": "identical_bytes"}).rows.head(1)
    partner = json.loads(copy["evidence"].item())["partner"]
    Decisions(own_run).append([Decision(verdict="drop", reviewer="ann", content_id=copy["content_id"].item(), sample_id=partner, copies=2)])
    assert not drawn(own_run, "decisions").warning
    Decisions(own_run).append(new_decisions(run, copy, "drop", reviewer="ann"))
    warning = drawn(own_run, "decisions").warning[0].value
    assert "All copies are dropped" in warning
    assert literal(partner) in warning


def test_missing_run_shows_error_and_hint(tmp_path):
    def app(path):
        from dashboard.app import main

        main(path)

    test = AppTest.from_function(app, args=(str(tmp_path),)).run()
    assert not test.exception
    assert "run" in test.error[0].value
    assert "scan" in test.markdown[0].value


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


def test_search_finds_images_by_name_class_and_content(own_run):
    run = open_run(own_run)
    test = drawn(own_run, "search")
    test.text_input("search name").input("CAT").run()
    assert not test.exception
    assert all(
        "cat" in f"{name} {label}".lower() for name, label in run.columns("sample_id", "label", rows=matching_rows(run, "CAT", 200)).to_numpy()
    )
    assert test.query_params["image"] == "CAT"
    content = run.samples["content_id"].dropna().iloc[3]
    assert matching_rows(run, content[:10].upper(), 200).tolist() == np.flatnonzero(run.samples["content_id"] == content).tolist()
    assert not len(matching_rows(run, "no such name", 200))
    flagged = run.findings["sample_id"].dropna().iloc[0]
    assert "Findings:" in shown(drawn(own_run, "search", image=flagged))


def test_search_finds_a_class_by_its_words(small_run):
    assert matching_rows(small_run, "felis", 9).tolist() == [0, 1]
    assert matching_rows(small_run, "N2", 9).tolist() == [2, 3, 4]


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
