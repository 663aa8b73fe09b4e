"""Hostile names stay plain text in Markdown; checked with a Markdown parser."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from audit.io.markdown import code, escape
from reports.dataset_card import render as card
from reports.markdown import render

PARSER = MarkdownIt("commonmark").enable("table")


def kinds(text):
    """Return the kinds of elements in a text, including inline ones."""
    found = set()
    for token in PARSER.parse(text):
        found.add(token.type)
        found |= {child.type for child in token.children or []}
    return found


@pytest.mark.parametrize("write", [render, card])
def test_hostile_names_start_no_markup(hostile_run, write):
    text = write(hostile_run)
    found = kinds(text)
    assert not found & {"link_open", "image", "html_block"}
    inline = [child for token in PARSER.parse(text) for child in token.children or [] if child.type == "html_inline"]
    assert {child.content for child in inline} <= {"<!-- -->"}
    assert "\x1b" not in text
    assert "\u202e" not in text
    headings = [token for token in PARSER.parse(text) if token.type == "heading_open"]
    assert len(headings) == (2 if write is render else 1)


def test_tables_keep_their_columns(hostile_run):
    rows = [row for row in PARSER.parse(render(hostile_run)) if row.type in ("tr_open", "td_open", "th_open")]
    cells, width = [], 0
    for token in rows:
        if token.type == "tr_open":
            cells.append(0)
        else:
            cells[-1] += 1
    width = cells[0]
    assert width == 6
    assert set(cells) == {width}


def test_output_mentions_no_user():
    assert "@me" not in escape("@me")
    assert "#12" not in escape("fixes #12")
    assert "://" not in escape("http://x")
    assert "www." not in escape("WWW.x.org").lower()


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=40))
def test_code_is_one_span_and_escaped_text_is_plain(text):
    (inline,) = [token for token in PARSER.parse(f"x {code(text)} y") if token.type == "inline"]
    assert [child.type for child in inline.children] == ["text", "code_inline", "text"]
    (inline,) = [token for token in PARSER.parse(f"x {escape(text)} y") if token.type == "inline"]
    assert {child.type for child in inline.children} <= {"text", "html_inline", "text_special"}
    assert {child.content for child in inline.children if child.type == "html_inline"} <= {"<!-- -->"}
