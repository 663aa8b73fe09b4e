"""The HTML report is valid, small and self-contained, and escapes untrusted text."""

import html
import json
import re
import shlex

import html5lib
import pytest

from audit.io.artifacts import read_table, write_table
from audit.review.decisions import Decisions, decide
from audit.run.run import Run
from reports.content.summary import summarize
from reports.html import render


def parse(text):
    """Parse HTML5 strictly; raise if it is not valid."""
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)


@pytest.mark.parametrize("fixture", ["small_run", "hostile_run", "demo_run"])
def test_is_valid_self_contained_and_small(request, fixture):
    text = render(request.getfixturevalue(fixture))
    tree = parse(text)
    assert len(text.encode()) < 5_000_000
    for element in tree.iter():
        if not isinstance(element.tag, str):
            continue
        for name, value in element.attrib.items():
            assert not name.startswith("on"), name
            if name in ("src", "href"):
                assert value.startswith(("data:image/jpeg;base64,", "#")), value
        assert element.tag not in ("script", "link", "iframe", "object", "form", "base")
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_escapes_hostile_text(hostile_run):
    text = render(hostile_run)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&#34;onload=x/1.jpg" in text
    assert "&lt;script&gt;alert(2)" in text
    assert "&lt;b&gt;key&lt;/b&gt;" in text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    assert r"\x1b[31m\u202e[a](http://x)\n# 3.jpg" in text


def test_demo_has_images_and_sections(demo_run):
    tree = parse(render(demo_run))
    images = [element.attrib["src"] for element in tree.iter("img")]
    assert len(images) > 20
    ids = {element.attrib["id"] for element in tree.iter("section") if "id" in element.attrib}
    assert {"first", "checks", "labels", "groups", "split", "review"} <= ids
    first = next(element for element in tree.iter("section") if element.attrib.get("id") == "first")
    assert len([element for element in first.iter("article")]) == len(summarize(demo_run).top) == 10  # noqa: C416


def test_shows_decisions(small_run):
    Decisions(small_run.path).append(decide(small_run, small_run.findings_page({"check": "leakage"}).rows, "keep", reviewer="<ada>"))
    text = render(small_run)
    assert "0 of 5 (0% to " in text
    assert "5 decisions by &lt;ada&gt;" in text


def test_renders_an_empty_run(small_run):
    (small_run.path / "pairs.parquet").unlink()
    write_table(small_run.path / "samples.parquet", read_table(small_run.path / "samples.parquet").slice(0, 0))
    small_run.record["checks"] = {}
    small_run.record["counts"] = {"listed": 0, "scanned": 0, "failed": 0, "outcomes": {}}
    assert "No findings." in render(small_run)


def test_links_a_section_for_every_check_with_findings(demo_run):
    tree = parse(render(demo_run))
    ids = {element.attrib["id"] for element in tree.iter("section")}
    links = [element.attrib["href"].removeprefix("#") for element in tree.iter("a")]
    assert set(links) == ids
    table = next(element for element in tree.iter("section") if element.attrib["id"] == "checks")
    assert {total.name for total in summarize(demo_run).checks} == {"".join(link.itertext()) for link in table.iter("a")}


def test_shows_words_of_label_codes(small_run):
    text = render(small_run)
    assert '<span class="given">cat (n1)</span> → <span class="suggested">dog (n2)</span>' in text
    assert "class cat (n1)" in text


def test_quotes_paths_in_commands(small_run):
    spaced = Run(small_run.path.rename(small_run.path.with_name("my run")))
    (command,) = re.findall(r"imagenet-audit export .*?split\.csv", render(spaced))
    assert shlex.split(html.unescape(command))[2] == str(spaced.path)


def test_class_finding_shows_examples_and_boxes(marked_run):
    (mark,) = marked_run.findings_page({"check": "marks"}).rows.to_dict("records")
    tree = parse(render(marked_run))
    card = next(element for element in tree.iter("article") if "have the same mark" in "".join(element.itertext()))
    names = ["".join(element.itertext()) for element in card.iter("span") if element.attrib.get("class") == "name"]
    assert names == json.loads(mark["evidence"])["examples"]
    assert len(list(card.iter("img"))) == len(list(card.iter("i"))) == len(names) == 5
    left, top, width, height = (float(edge) for edge in re.findall(r"([\d.]+)%", next(card.iter("i")).attrib["style"]))
    assert (left < 10, top > 60, width < 40, top + height <= 100) == (True, True, True, True)
