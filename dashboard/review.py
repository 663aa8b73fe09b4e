"""Looking at findings one at a time or as a grid, and deciding: what all pages about images share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from audit.review.decisions import decide
from audit.shown_images import boxes_of, outlined, shown_images
from audit.tables import SEVERITIES
from dashboard import pictures
from dashboard.keyboard import keys
from dashboard.queue import ALL, STATES, UNDECIDED, Filters, build, next_undecided, verdict_of
from dashboard.state import decisions_of, precision_now, reviewer
from dashboard.text import label, literal, short, title, value

if TYPE_CHECKING:
    import pandas as pd

    from audit.run import Run

KEYS = {"keep": "k", "relabel": "r", "drop": "d", "unsure": "u"}
MEANING = {
    "keep": "The finding is wrong: leave the image as it is",
    "relabel": "The right label is another",
    "drop": "Leave the image out of the dataset",
    "unsure": "Seen, not decided",
}
ICONS = {"keep": ":material/check:", "relabel": ":material/sell:", "drop": ":material/delete:", "unsure": ":material/help:"}
BADGES = {"keep": "green", "relabel": "orange", "drop": "red", "unsure": "gray", "disputed": "violet"}
SEVERITY_COLORS = {"error": "red", "warning": "orange", "info": "blue"}
GRID = 12
_NEIGHBOR_WIDTH = 150
_EXAMPLES_ACROSS = 3
FOCUS = "focus"
"""In the session: id of the finding that the next page opens with."""

ONE, MANY = "One at a time", "Grid"


@dataclass(frozen=True, slots=True)
class Page:
    """One page's list under review; its state lives in the session under keys that begin with ``name``."""

    run: Run
    name: str
    filters: Filters
    queue: list[str]
    words: Mapping[str, str]

    def key(self, part: str) -> str:
        """Return the session's key of one part of this page's state."""
        return f"{self.name} {part}"

    @property
    def position(self) -> int:
        """Place in the queue."""
        return min(int(st.session_state.get(self.key("position"), 0)), max(len(self.queue) - 1, 0))

    def go(self, position: int) -> None:
        """Move to a place in the queue."""
        st.session_state[self.key("position")] = min(max(position, 0), max(len(self.queue) - 1, 0))


def review(run: Run, name: str, checks: Sequence[str], extra: Callable[[Page, Mapping[str, Any]], None] | None = None) -> None:
    """Draw filters, the findings of some checks, and what decides about them.

    Args:
        run: a finished run.
        name: of the page; its state is kept under it.
        checks: whose findings are shown; those that did not run are passed over.
        extra: draws what only this page knows of a finding, below the image.
    """
    index = run.findings_index
    present = [check for check in checks if (index["check"] == check).any()]
    if not present:
        st.success("Nothing was found here.", icon=":material/task_alt:")
        return
    focus = st.session_state.pop(FOCUS, None)
    if focus is not None:
        _open_at(run, name, present, focus)
    filters = _filters(run, name, present)
    page = Page(run, name, filters, _queue(run, name, filters), run.record.get("class_words") or {})
    if not page.queue:
        _nothing_left(page)
        return
    if focus in page.queue:
        page.go(page.queue.index(focus))
    mode = st.session_state.get(page.key("mode")) or ONE
    if mode == MANY:
        _grid(page)
    else:
        _single(page, extra)


def finding(run: Run, finding_id: str) -> dict[str, Any] | None:
    """Return one finding whole, its evidence decoded, None where it has no value; None where the run has none of that id."""
    rows = run.findings_page({"finding_id": finding_id}).rows
    return None if rows.empty else _plain(rows.iloc[0].to_dict())


def decide_about(run: Run, finding_ids: Sequence[str], verdict: str, *, new_label: str | None = None, note: str = "") -> int:
    """Store one verdict about some findings as one action; those without an image or, for relabel, without any label are passed over.

    Returns:
        How many were decided.
    """
    rows = run.findings_page({"finding_id": list(finding_ids)}).rows
    if verdict == "relabel":
        rows = rows[rows["sample_id"].notna() & (rows["suggested_label"].notna() | bool(new_label))]
    decisions_of(run).append(decide(run, rows, verdict, reviewer=reviewer(), label=new_label, note=note))
    return len(rows)


def badges(record: Mapping[str, Any], verdict: str | None) -> str:
    """Return a finding's severity, kind and verdict as Markdown."""
    color = SEVERITY_COLORS.get(str(record["severity"]), "gray")
    shown = [f":{color}-badge[{literal(title(str(record['severity'])))}]", f":gray-badge[{literal(title(str(record['kind'])))}]"]
    if verdict:
        shown.append(f":{BADGES.get(verdict, 'gray')}-badge[{literal(title(verdict))}]")
    return " ".join(shown)


def change(record: Mapping[str, Any], words: Mapping[str, str]) -> str:
    """Return given and suggested label as Markdown."""
    given = literal(label(record["label"], words))
    suggested = record.get("suggested_label")
    return f"{given} → **{literal(label(suggested, words))}**" if suggested else given


def _filters(run: Run, name: str, checks: Sequence[str]) -> Filters:
    index = run.findings_index
    of_checks = index[index["check"].isin(checks)]
    top = st.columns([3, 3, 2], vertical_alignment="bottom")
    state_key, mode_key = f"{name} state", f"{name} mode"
    _hold(state_key, ALL)
    _hold(mode_key, ONE)
    top[0].segmented_control("Show", [*reversed(STATES)], key=state_key, format_func=str.capitalize, required=True)
    top[1].segmented_control("View", [ONE, MANY], key=mode_key, required=True)
    with top[2].popover("Filters", icon=":material/filter_alt:", width="stretch"):
        chosen = {
            part: st.multiselect(text, options, key=f"{name} {part}", format_func=show, placeholder="All")
            for part, text, options, show in (
                ("checks", "Check", list(checks), title),
                ("kinds", "Kind", _values(of_checks, "kind"), title),
                ("severities", "Severity", [level for level in reversed(SEVERITIES) if level in set(of_checks["severity"])], title),
                ("labels", "Class", _values(of_checks, "label"), str),
                ("suggested", "Suggested class", _values(of_checks, "suggested_label"), str),
                ("splits", "Split", _values(of_checks, "split"), str),
                ("verdicts", "Verdict", [*KEYS, "disputed"], title),
            )
            if options
        }
    picked = {part: tuple(values) for part, values in chosen.items()}
    picked["checks"] = picked.get("checks") or tuple(checks)
    return Filters(**picked, state=str(st.session_state[state_key]))


def _queue(run: Run, name: str, filters: Filters) -> list[str]:
    """Return the page's list; it is put in order when the filters change, not at every decision, so that it does not move under the reviewer."""
    held = st.session_state.get(f"{name} queue")
    made_of = (filters, (run.path / "run.json").stat().st_mtime_ns)
    if held is None or held[0] != made_of:
        held = (made_of, build(run.findings_index, filters, decisions_of(run).current(), precision_now(run)))
        st.session_state[f"{name} queue"] = held
        st.session_state[f"{name} position"] = 0
        st.session_state[f"{name} sheet"] = 0
    queue: list[str] = held[1]
    return queue


def reorder(name: str) -> None:
    """Put a page's list in order anew, by what decisions have taught since."""
    st.session_state.pop(f"{name} queue", None)


def _single(page: Page, extra: Callable[[Page, Mapping[str, Any]], None] | None) -> None:
    record = finding(page.run, page.queue[page.position])
    if record is None:
        reorder(page.name)
        st.rerun()
        return
    decided = verdict_of(decisions_of(page.run).current())
    _bar(page, record, decided)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _pictures(page, record)
    with right:
        st.markdown(badges(record, decided.get(record["finding_id"])))
        st.markdown(f"#### {change(record, page.words)}")
        st.markdown(literal(record["message"]))
        _facts(record)
    if extra is not None:
        extra(page, record)
    if record["sample_id"]:
        _neighbors(page, record)


def _bar(page: Page, record: Mapping[str, Any], decided: Mapping[str, str]) -> None:
    """Draw the buttons that decide; above the image, so that they stand still while images change."""
    done = sum(entry in decided for entry in page.queue)
    st.progress(done / len(page.queue), text=f"Finding {page.position + 1:,} of {len(page.queue):,} · {done:,} decided")
    to = _relabel_to(page, record)
    with st.container(horizontal=True, gap="small", key="decide_bar"):
        for verdict, letter in KEYS.items():
            st.button(
                f"{title(verdict) if verdict != 'unsure' else 'Not sure'} `{letter.upper()}`",
                key=f"decide_{verdict}",
                icon=ICONS[verdict],
                help=MEANING[verdict],
                type="primary" if decided.get(str(record["finding_id"])) == verdict else "secondary",
                disabled=verdict == "relabel" and (to is None or record["sample_id"] is None),
                on_click=_decide_one,
                args=(page, record["finding_id"], verdict, to),
            )
        st.button("Undo `Z`", key="decide_undo", icon=":material/undo:", on_click=_undo, args=(page,), help="Take back your last action")
        st.button("", key="decide_back", icon=":material/arrow_back:", on_click=_step, args=(page, -1), help="Previous, left arrow")
        st.button("", key="decide_on", icon=":material/arrow_forward:", on_click=_step, args=(page, 1), help="Next, right arrow")
    keys(
        {letter: f"decide_{verdict}" for verdict, letter in KEYS.items()}
        | {"z": "decide_undo", "ArrowLeft": "decide_back", "ArrowRight": "decide_on"}
    )


def _step(page: Page, places: int) -> None:
    """Move from where the page is by now: a key may be pressed while the page is still being drawn."""
    page.go(page.position + places)


def _relabel_to(page: Page, record: Mapping[str, Any]) -> str | None:
    """Draw the fields of the new label and the note; return the label."""
    if record["sample_id"] is None:
        return None
    classes = page.run.classes or _values(page.run.findings_index, "label")
    of_partner = record["evidence"].get("partner_label")
    of_partner = of_partner[0] if isinstance(of_partner, list) and len(of_partner) == 1 else of_partner
    suggested = record["suggested_label"] or (of_partner if isinstance(of_partner, str) else None)
    options = [*([suggested] if suggested else []), *(name for name in classes if name not in (suggested, record["label"]))]
    columns = st.columns(2)
    chosen = columns[0].selectbox(
        "Relabel to",
        options,
        index=0 if suggested else None,
        key=page.key(f"label {record['finding_id']}"),
        format_func=lambda name: label(name, page.words),
        accept_new_options=True,
        placeholder="Choose a class, or type a new one",
    )
    columns[1].text_input("Note", key=page.key("note"), placeholder="For colleagues; kept with the decision", max_chars=500)
    return str(chosen) if chosen else None


def _decide_one(page: Page, finding_id: str, verdict: str, new_label: str | None) -> None:
    note = str(st.session_state.get(page.key("note"), ""))
    if decide_about(page.run, [finding_id], verdict, new_label=new_label if verdict == "relabel" else None, note=note):
        st.session_state[page.key("note")] = ""
        page.go(next_undecided(page.queue, page.position, verdict_of(decisions_of(page.run).current())))


def _undo(page: Page) -> None:
    taken_back = decisions_of(page.run).undo(reviewer())
    if not taken_back:
        st.toast("You have decided nothing that could be taken back.", icon=":material/undo:")
        return
    st.toast(f"Taken back: {len(taken_back):,} decision{'s' if len(taken_back) > 1 else ''}.", icon=":material/undo:")
    first = taken_back[0].finding_id
    if first in page.queue:
        page.go(page.queue.index(first))


def _pictures(page: Page, record: Mapping[str, Any]) -> None:
    """Draw the image and its partner large; of a class or the dataset, examples."""
    of_image = record["sample_id"] is not None
    names = shown_images(record["sample_id"], record["evidence"])
    rows = [int(row) for row in page.run.rows_of(names) if row >= 0] if names else []
    if not of_image:
        st.info("This finding is about a class or the dataset as a whole" + ("; these show it." if rows else "."), icon=":material/category:")
    data = [pictures.large(page.run, row) for row in rows] if of_image else pictures.small(page.run, rows)
    where = boxes_of(record["evidence"])
    data = [picture and outlined(picture, where if at == 0 or not of_image else []) for at, picture in enumerate(data)]
    across = max(len(rows), 1) if of_image else _EXAMPLES_ACROSS
    facts = page.run.columns("sample_id", "label", "split", "width", "height", rows=np.array(rows, np.int64)).to_dict("records")
    for start in range(0, len(rows), across):
        for column, picture, fact in zip(st.columns(across), data[start : start + across], facts[start : start + across], strict=False):
            pictures.show(column, picture, alt=f"{short(fact['sample_id'])}, labelled {fact['label']}")
            column.caption(_caption(fact, page.words), help=literal(fact["sample_id"]))


def _caption(fact: Mapping[Any, Any], words: Mapping[str, str]) -> str:
    size = f" · {int(fact['width'])} x {int(fact['height'])}" if fact["width"] == fact["width"] and fact["width"] else ""
    split = f" · {literal(fact['split'])}" if isinstance(fact["split"], str) else ""
    given = literal(label(fact["label"] if isinstance(fact["label"], str) else None, words))
    return f"{literal(short(fact['sample_id'], 60))}  \n{given}{split}{size}"


def _facts(record: Mapping[str, Any]) -> None:
    rows = [("Score", f"{record['score']:.2f}"), ("Check", title(record["check"])), ("Split", record["split"] or "none")]
    rows += [(title(name), value(thing)) for name, thing in record["evidence"].items() if name not in ("partner", "examples")]
    with st.expander("Evidence", expanded=True, icon=":material/fact_check:"):
        st.markdown("\n".join(f"- {literal(name)}: **{literal(short(text, 160))}**" for name, text in rows if text))


def _neighbors(page: Page, record: Mapping[str, Any]) -> None:
    from audit.errors import AuditError

    row = int(page.run.rows_of([record["sample_id"]])[0])
    try:
        near, likeness = page.run.neighbors[row], page.run.similarities[row]
    except AuditError:
        return
    places = np.flatnonzero(near >= 0)[:6]
    if not len(places):
        return
    st.markdown("**Nearest images**")
    rows = [int(other) for other in near[places]]
    facts = page.run.columns("sample_id", "label", rows=np.array(rows))
    previews = pictures.small(page.run, rows)
    with st.container(horizontal=True, gap="small"):
        for place, data, fact in zip(places, previews, facts.to_dict("records"), strict=True):
            cell = st.container(width=_NEIGHBOR_WIDTH)
            pictures.show(cell, data, alt=short(fact["sample_id"]))
            given = fact["label"] if isinstance(fact["label"], str) else None
            cell.caption(f"{literal(label(given, page.words))}  \n{likeness[place]:.2f} alike", help=literal(fact["sample_id"]))


def _grid(page: Page) -> None:
    sheets = (len(page.queue) - 1) // GRID + 1
    sheet = min(int(st.session_state.get(page.key("sheet"), 0)), sheets - 1)
    ids = page.queue[sheet * GRID : (sheet + 1) * GRID]
    rows = page.run.findings_page({"finding_id": ids}).rows.set_index("finding_id", drop=False).loc[ids]
    records = [_plain(row) for row in rows.to_dict("records")]
    decided = verdict_of(decisions_of(page.run).current())
    _bulk_bar(page, ids, sheet, sheets)
    first = [next(iter(shown_images(record["sample_id"], record["evidence"])), "") for record in records]
    places = page.run.rows_of(first)
    with_image = [int(row) for row in places if row >= 0]
    previews = dict(zip(with_image, pictures.small(page.run, with_image), strict=True))
    for start in range(0, len(records), 4):
        for column, record, row in zip(st.columns(4), records[start : start + 4], places[start : start + 4], strict=False):
            _card(column, page, record, decided, previews.get(int(row)))


def _bulk_bar(page: Page, ids: Sequence[str], sheet: int, sheets: int) -> None:
    chosen = [entry for entry in ids if st.session_state.get(page.key(f"pick {entry}"))]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.checkbox("All on this page", key=page.key(f"pick all {sheet}"), on_change=_pick_all, args=(page, list(ids), sheet))
        for verdict in KEYS:
            text = "Not sure" if verdict == "unsure" else title(verdict)
            st.button(
                text, key=f"bulk_{verdict}", icon=ICONS[verdict], disabled=not chosen, on_click=_decide_many, args=(page, chosen, verdict, sheet)
            )
        st.button("Undo `Z`", key="decide_undo", icon=":material/undo:", on_click=_undo, args=(page,))
        st.button("", key="decide_back", icon=":material/arrow_back:", disabled=sheet == 0, on_click=_turn, args=(page, sheet - 1))
        st.markdown(f"Page {sheet + 1:,} of {sheets:,} · {len(page.queue):,} findings · {len(chosen)} chosen")
        st.button("", key="decide_on", icon=":material/arrow_forward:", disabled=sheet + 1 >= sheets, on_click=_turn, args=(page, sheet + 1))
    letters = {letter: f"bulk_{verdict}" for verdict, letter in KEYS.items()}
    keys({**letters, "z": "decide_undo", "ArrowLeft": "decide_back", "ArrowRight": "decide_on"})


def _card(column: Any, page: Page, record: Mapping[str, Any], decided: Mapping[str, str], data: bytes | None) -> None:
    with column.container(border=True):
        if data is not None or record["sample_id"]:
            pictures.show(st, data and outlined(data, boxes_of(record["evidence"])), alt=short(record["sample_id"] or record["message"]))
        st.markdown(badges(record, decided.get(str(record["finding_id"]))))
        st.markdown(change(record, page.words), help=literal(f"{record['sample_id'] or ''} {record['message']}"))
        st.caption(f"{_probability(record)} · {literal(short(record['sample_id'] or title(record['check']), 28))}")
        buttons = st.columns([1, 1])
        buttons[0].checkbox("Choose", key=page.key(f"pick {record['finding_id']}"))
        buttons[1].button("Open", key=page.key(f"open {record['finding_id']}"), on_click=_open, args=(page, record["finding_id"]), type="tertiary")


def _probability(record: Mapping[str, Any]) -> str:
    wrong = record["evidence"].get("probability_wrong")
    return f"{wrong:.0%} wrong" if isinstance(wrong, int | float) else f"score {record['score']:.2f}"


def _pick_all(page: Page, ids: Sequence[str], sheet: int) -> None:
    wanted = bool(st.session_state.get(page.key(f"pick all {sheet}")))
    for entry in ids:
        st.session_state[page.key(f"pick {entry}")] = wanted


def _decide_many(page: Page, ids: Sequence[str], verdict: str, sheet: int) -> None:
    done = decide_about(page.run, ids, verdict)
    left = f"; {len(ids) - done:,} have no suggested label and need one each" if done < len(ids) else ""
    st.toast(f"{title(verdict)}: {done:,} findings{left}.")
    for entry in ids:
        st.session_state[page.key(f"pick {entry}")] = False
    st.session_state[page.key(f"pick all {sheet}")] = False


def _turn(page: Page, sheet: int) -> None:
    st.session_state[page.key("sheet")] = sheet


def _open(page: Page, finding_id: str) -> None:
    page.go(page.queue.index(finding_id))
    st.session_state[page.key("mode")] = ONE


def _open_at(run: Run, name: str, checks: Sequence[str], finding_id: str) -> None:
    """Let go of filters that would hide the finding that was asked for."""
    index = run.findings_index
    if ((index["finding_id"] == finding_id) & index["check"].isin(checks)).any():
        for part in ("checks", "kinds", "severities", "labels", "suggested", "splits", "verdicts"):
            st.session_state.pop(f"{name} {part}", None)
        st.session_state[f"{name} state"] = ALL
        st.session_state[f"{name} mode"] = ONE


def _nothing_left(page: Page) -> None:
    if page.filters.state == UNDECIDED:
        st.success("Everything here is decided. See **Decisions & export** for what follows from it.", icon=":material/task_alt:")
    else:
        st.info("No finding fits these filters: take one away, or show all.", icon=":material/filter_alt_off:")


def _hold(key: str, default: str) -> None:
    """Keep a widget's value while its page is not shown."""
    st.session_state[key] = st.session_state.get(key) or default


def _values(index: pd.DataFrame, column: str) -> list[str]:
    return sorted(str(name) for name in index[column].dropna().unique())


def _plain(record: Mapping[Any, Any]) -> dict[str, Any]:
    plain = {str(name): thing if isinstance(thing, str | int | float) and thing == thing else None for name, thing in record.items()}  # noqa: PLR0124 - NaN
    return {**plain, "evidence": json.loads(str(record["evidence"]))}
