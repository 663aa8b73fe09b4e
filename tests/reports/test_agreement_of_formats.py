"""All formats show the same numbers, and they match the tables of the run."""

import csv
import io
import json
import re
from importlib.resources import files

import html5lib
import jsonschema
import pandas as pd
import pytest

from audit.review.decisions import Decisions, decide
from reports import csv as csv_format
from reports import dataset_card, html, markdown, text
from reports import json as json_format

SCHEMA = json.loads((files("reports") / "report.schema.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("fixture", ["small_run", "hostile_run", "demo_run"])
def test_json_matches_its_schema(request, fixture):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    document = json.loads(json_format.render(request.getfixturevalue(fixture)))
    jsonschema.Draft202012Validator(SCHEMA).validate(document)


def test_schema_has_every_key(demo_run):
    document = json.loads(json_format.render(demo_run))
    definitions = SCHEMA["$defs"]
    assert set(document) == set(SCHEMA["properties"])
    assert set(document["summary"]) == set(definitions["summary"]["properties"])
    assert set(document["summary"]["checks"][0]) == set(definitions["check"]["properties"])
    assert set(document["findings"][0]) == set(definitions["finding"]["properties"])
    assert set(document["summary"]["top"][0]) == set(definitions["top"]["properties"])


def numbers_of_tables(run):
    """Return check -> findings from the Parquet files."""
    found = {path.stem: pd.read_parquet(path) for path in (run.path / "findings").glob("*.parquet")}
    return {name: frame for name, frame in found.items() if len(frame)}


def test_findings_by_check_agree(demo_run):
    truth = {name: len(frame) for name, frame in numbers_of_tables(demo_run).items()}
    summary = json.loads(json_format.render(demo_run))["summary"]
    assert {check["name"]: check["findings"] for check in summary["checks"]} == truth
    rows = list(csv.DictReader(io.StringIO(csv_format.render(demo_run), newline="")))
    assert pd.Series([row["check"] for row in rows]).value_counts().to_dict() == truth
    tree = html5lib.parse(html.render(demo_run), namespaceHTMLElements=False)
    section = next(element for element in tree.iter("section") if element.attrib.get("id") == "checks")
    cells = [["".join(cell.itertext()) for cell in row.iter("td")] for row in section.iter("tr")]
    in_html = {row[0]: int(row[1].replace(",", "")) for row in cells if row and row[1].isdigit() and row[1] != "0"}
    assert in_html == truth
    for rendered in (markdown.render(demo_run), dataset_card.render(demo_run)):
        in_table = {name: int(number) for name, number in re.findall(r"^\| `(\w+)` \| (\d+) \|", rendered, re.MULTILINE) if int(number)}
        assert in_table == truth
    plain = text.render(demo_run, width=200)
    assert {name: int(number) for name, number in re.findall(r"^(\w+)  (\d+)(?:  \(.*\))?$", plain, re.MULTILINE)} == truth


def test_totals_agree(demo_run):
    every = pd.concat(numbers_of_tables(demo_run).values())
    flagged = every["sample_id"].nunique()
    listed = len(demo_run.samples)
    healthy = 1 - every.loc[every["severity"] != "info", "sample_id"].nunique() / listed
    summary = json.loads(json_format.render(demo_run))["summary"]
    assert (summary["findings"], summary["counts"]["flagged"], summary["counts"]["listed"]) == (len(every), flagged, listed)
    assert summary["health"] == pytest.approx(healthy)
    assert summary["issues"] == len(demo_run.issues) <= 20
    assert f"{len(every)} findings about {flagged} images" in markdown.render(demo_run)
    assert f"{len(every)} findings about {flagged} images" in text.render(demo_run, width=200)
    page = html.render(demo_run)
    assert f"<b>{summary['issues']}</b>issues ({len(every)} findings about {flagged} images)" in page
    assert f"<b>{listed}</b>images listed" in page
    for rendered in (page, markdown.render(demo_run), dataset_card.render(demo_run)):
        assert f"{healthy:.1%}" in rendered


def test_issues_contain_every_finding_once(demo_run):
    document = json.loads(json_format.render(demo_run))
    ids = [finding for issue in document["issues"] for finding in issue["findings"]]
    assert sorted(ids) == sorted(finding["finding_id"] for finding in document["findings"])
    largest = max(document["issues"], key=lambda issue: len(issue["findings"]))
    rows = demo_run.findings_page({"issue_id": largest["issue_id"]}).rows
    assert rows["finding_id"].tolist() == largest["findings"]
    assert largest["message"].endswith(rows["message"].iloc[0])


def test_top_findings_agree(demo_run):
    document = json.loads(json_format.render(demo_run))
    first = [finding["finding_id"] for finding in document["summary"]["top"]]
    order = [finding["finding_id"] for finding in document["findings"]]
    assert order == demo_run.findings["finding_id"].tolist()
    assert [finding for finding in order if finding in first] == first
    assert order[0] == first[0]
    lines = re.findall(r"^\d+\. .*$", markdown.render(demo_run), re.MULTILINE)
    assert len(lines) == 10
    subjects = [finding["sample_id"] or finding["label"] or "whole dataset" for finding in document["summary"]["top"]]
    assert all(subject in line for subject, line in zip(subjects, lines, strict=True))


def test_decisions_change_the_order_in_json_and_csv(small_run):
    Decisions(small_run.path).append(decide(small_run, small_run.findings_page({"check": "integrity"}).rows, "keep", reviewer="ada"))
    document = json.loads(json_format.render(small_run))
    first = [finding["finding_id"] for finding in document["summary"]["top"]]
    order = [finding["finding_id"] for finding in document["findings"]]
    assert first == [finding for finding in order if finding not in ("f2", *(f"f{number}" for number in range(3, 7)))]  # f3 to f7 are one issue
    assert [row["finding_id"] for row in csv.DictReader(io.StringIO(csv_format.render(small_run), newline=""))] == order


def test_csv_has_every_finding_and_no_formula(hostile_run):
    rows = list(csv.reader(io.StringIO(csv_format.render(hostile_run), newline="")))
    assert len(rows) == 1 + len(hostile_run.findings)
    for row in rows[1:]:
        for cell in row:
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r")), cell
            assert cell.isprintable()
