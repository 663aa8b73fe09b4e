"""Show many findings at a time, and decide about the selected ones as one action."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from audit.images.boxes import boxes_of, outlined, shown_images
from dashboard.components import images
from dashboard.components.filters import ONE, touched
from dashboard.components.keyboard import keys
from dashboard.components.page import badges, change, plain, undo_button
from dashboard.components.text import literal, short
from dashboard.components.verdicts import ICONS, KEYS, OF_CLASSES, decide_about, verdict_name
from reports.content.wording import check_title

if TYPE_CHECKING:
    from dashboard.components.page import Page

AT_ONCE = 12
_CARD_WIDTH = 230


def grid(page: Page) -> None:
    """Draw one sheet of the page's queue."""
    sheets = (len(page.queue) - 1) // AT_ONCE + 1
    sheet = min(int(st.session_state.get(page.key("sheet"), 0)), sheets - 1)
    ids = page.queue[sheet * AT_ONCE : (sheet + 1) * AT_ONCE]
    rows = page.run.findings_page({"finding_id": ids}).rows.set_index("finding_id", drop=False).loc[ids]
    records = [plain(row) for row in rows.to_dict("records")]
    _bar(page, records, sheet, sheets)
    first = [next(iter(shown_images(record["sample_id"], record["evidence"])), "") for record in records]
    image_rows = page.run.rows_of(first)
    with_image = [int(row) for row in image_rows if row >= 0]
    previews = dict(zip(with_image, images.small(page.run, with_image), strict=True))
    with st.container(horizontal=True, gap="small", key="cards"):
        for record, row in zip(records, image_rows, strict=True):
            _card(page, record, previews.get(int(row)))


def _bar(page: Page, records: Sequence[Mapping[str, Any]], sheet: int, sheets: int) -> None:
    ids = [str(record["finding_id"]) for record in records]
    chosen = [entry for entry in ids if st.session_state.get(page.key(f"pick {entry}"))]
    whole = any(record["sample_id"] is None for record in records)
    verdicts = [verdict for verdict in KEYS if verdict in page.verdicts or (whole and verdict in OF_CLASSES)]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.checkbox("Select all on this page", key=page.key(f"pick all {sheet}"), on_change=_pick_all, args=(page, ids, sheet))
        for verdict in verdicts:
            st.button(
                f"{verdict_name(verdict)} `{KEYS[verdict].upper()}`",
                key=f"bulk_{verdict}",
                icon=ICONS[verdict],
                disabled=not chosen,
                on_click=_decide,
                args=(page, chosen, verdict, sheet),
            )
        undo_button(page)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button("Previous", key="decide_back", icon=":material/arrow_back:", disabled=sheet == 0, on_click=_turn, args=(page, sheet - 1))
        st.button("Next", key="decide_on", icon=":material/arrow_forward:", disabled=sheet + 1 >= sheets, on_click=_turn, args=(page, sheet + 1))
        st.markdown(f"Page {sheet + 1:,} of {sheets:,} · {len(page.queue):,} findings · {len(chosen)} selected", width="content")
    letters = {KEYS[verdict]: f"bulk_{verdict}" for verdict in verdicts}
    keys({**letters, "z": "decide_undo", "ArrowLeft": "decide_back", "ArrowRight": "decide_on"})


def _card(page: Page, record: Mapping[str, Any], data: bytes | None) -> None:
    finding_id = str(record["finding_id"])
    with st.container(border=True, width=_CARD_WIDTH):
        if data is not None or record["sample_id"]:
            images.show(st, data and outlined(data, boxes_of(record["evidence"])), alt=short(record["sample_id"] or record["message"]))
        st.markdown(badges(record, page.decided.get(finding_id)))
        st.markdown(change(record, page.words), help=literal(f"{record['sample_id'] or ''} {record['message']}"))
        st.caption(f"{_probability(record)} · {literal(short(record['sample_id'] or check_title(record['check']), 28))}")
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.checkbox("Select", key=page.key(f"pick {finding_id}"), width="content")
            st.button("Open", key=page.key(f"open {finding_id}"), on_click=_open, args=(page, finding_id), type="tertiary")


def _probability(record: Mapping[str, Any]) -> str:
    wrong = record["evidence"].get("probability_wrong")
    return f"{wrong:.0%} likely wrong" if isinstance(wrong, int | float) else f"score {record['score']:.2f}"


def _pick_all(page: Page, ids: Sequence[str], sheet: int) -> None:
    wanted = bool(st.session_state.get(page.key(f"pick all {sheet}")))
    for entry in ids:
        st.session_state[page.key(f"pick {entry}")] = wanted


def _decide(page: Page, ids: Sequence[str], verdict: str, sheet: int) -> None:
    done = decide_about(page.run, ids, verdict, page.verdicts)
    why = "without a suggested label" if verdict == "relabel" else "this verdict does not apply"
    skipped = f"; skipped {len(ids) - done:,} ({why})" if done < len(ids) else ""
    st.toast(f"{verdict_name(verdict)}: {done:,} findings{skipped}.")
    for entry in ids:
        st.session_state[page.key(f"pick {entry}")] = False
    st.session_state[page.key(f"pick all {sheet}")] = False


def _turn(page: Page, sheet: int) -> None:
    st.session_state[page.key("sheet")] = sheet
    touched(page.name)


def _open(page: Page, finding_id: str) -> None:
    page.go(finding_id)
    st.session_state[page.key("mode")] = ONE
