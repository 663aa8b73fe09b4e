from hypothesis import given
from hypothesis import strategies as st

from dashboard.components.text import literal, short


@given(st.text())
def test_literal_escapes_all_markdown(text):
    shown = literal(text)
    assert "\n" not in shown
    plain = shown.replace("\\\\", "")
    for mark in "<>[]()*_`:$!#|~":
        assert mark not in plain.replace(f"\\{mark}", "")


@given(st.text(), st.integers(8, 60))
def test_short_keeps_both_ends(text, length):
    shown = short(text, length)
    assert len(shown) <= length
    if "…" in shown and "…" not in text:
        assert shown[-2:] == short(text, 10**6)[-2:]
