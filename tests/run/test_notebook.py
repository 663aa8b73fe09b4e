"""A run shows itself in a notebook: as HTML without scripts, whatever its names contain."""

from html.parser import HTMLParser

import pytest

from audit import open_run
from audit.errors import AuditError
from tests.conftest import HOSTILE


class Reader(HTMLParser):
    """Collects tags, and the text with its entities decoded."""

    def __init__(self):
        super().__init__()
        self.tags, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def read(html):
    reader = Reader()
    reader.feed(html)
    return reader


def test_a_run_shows_counts_and_one_finding_of_each_check(small_run):
    shown = read(open_run(small_run.path)._repr_html_())
    assert "6 images, 1 failed; 8 findings (2 error, 5 warning, 1 info)" in shown.text
    assert all(check in shown.text for check in ("conflicting_labels", "integrity", "leakage", "class_balance"))
    assert set(shown.tags) <= {"p", "b", "div", "br", "img"}


def test_shows_the_findings_of_a_check(marked_run):
    shown = marked_run.show("marks")
    assert "1 of 1 findings" in str(shown)
    assert read(shown._repr_html_()).tags.count("img") == 2
    assert "0 of 0" in str(marked_run.show("marks", label="dog"))
    with pytest.raises(AuditError, match="unknown column"):
        marked_run.show(colour="red")


def test_names_are_text(small_run):
    shown = open_run(small_run.path).show("leakage")._repr_html_()
    assert HOSTILE not in shown
    assert set(read(shown).tags) <= {"p", "b", "div", "br", "img"}
