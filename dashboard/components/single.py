"""Show one finding at a time, and decide about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from audit.errors import AuditError
from audit.images.boxes import boxes_of, outlined, shown_images
from audit.review.consensus import groups_gone
from dashboard.components import filters, images
from dashboard.components.keyboard import keys
from dashboard.components.page import badges, change, plain, undo_button
from dashboard.components.queue import next_undecided, verdict_of
from dashboard.components.text import literal, short
from dashboard.components.verdicts import ICONS, KEYS, MEANING, decide_about, offered, verdict_name
from dashboard.state import decisions_of, reviewer
from reports.content.evidence import evidence_lines
from reports.content.wording import check_title, label

if TYPE_CHECKING:
    from dashboard.components.page import Extra, Page

_NEIGHBORS = 6
_LONGEST_NOTE = 500


def single(page: Page, finding_id: str, extra: Extra | None) -> None:
    """Draw one finding, and the buttons to decide about it."""
    record = plain(page.run.findings_page({"finding_id": finding_id}).rows.iloc[0].to_dict())
    # The buttons are drawn last, so that they never appear before the image that they decide about.
    bar = st.container()
    names = shown_images(record["sample_id"], record["evidence"])
    left, right = st.columns([3, 2], gap="medium") if names else (st.container(), st.container())
    with left:
        _images(page, record, names)
    with right:
        st.markdown(badges(record, page.decided.get(finding_id)))
        st.markdown(f"#### {change(record, page.words)}")
        st.markdown(literal(record["message"]))
        _decisions(page, finding_id)
        _warn_of_dropped_copies(page, record)
        _facts(page, record)
    if extra is not None:
        extra(page, record)
    if record["sample_id"]:
        _neighbors(page, record)
    with bar:
        _bar(page, record)


def _bar(page: Page, record: Mapping[str, Any]) -> None:
    """Draw the buttons above the image, so that they do not move when the image changes."""
    finding_id = str(record["finding_id"])
    done = sum(entry in page.decided for entry in page.queue)
    index = page.queue.index(finding_id)
    st.progress(done / len(page.queue), text=f"Finding {index + 1:,} of {len(page.queue):,} · {done:,} decided")
    buttons = st.container(horizontal=True, gap="small", key="decide_bar")
    to = _fields(page, record)
    letters = {}
    with buttons:
        for verdict in offered(record, page.verdicts):
            # The key contains the finding's id, so a late or double click never decides about the next finding.
            key = f"decide_{verdict}_{finding_id}"
            letters[KEYS[verdict]] = key
            st.button(
                f"{verdict_name(verdict)} `{KEYS[verdict].upper()}`",
                key=key,
                icon=ICONS[verdict],
                help=MEANING[verdict],
                type="primary" if page.decided.get(finding_id) == verdict else "secondary",
                disabled=verdict == "relabel" and to is None,
                on_click=_decide_one,
                args=(page, finding_id, verdict, to),
            )
        undo_button(page)
        st.button(
            "Previous", key="decide_back", icon=":material/arrow_back:", disabled=index == 0, on_click=_step, args=(page, -1), help="Left arrow"
        )
        last = index + 1 == len(page.queue)
        st.button("Next", key="decide_on", icon=":material/arrow_forward:", disabled=last, on_click=_step, args=(page, 1), help="Right arrow")
    keys({**letters, "z": "decide_undo", "ArrowLeft": "decide_back", "ArrowRight": "decide_on"})


def _step(page: Page, steps: int) -> None:
    """Move relative to the current finding, which may have changed if a key is pressed while the page is being drawn."""
    index = page.queue.index(page.finding) + steps
    page.go(page.queue[min(max(index, 0), len(page.queue) - 1)])


def _fields(page: Page, record: Mapping[str, Any]) -> str | None:
    """Draw the fields of the new label, if relabel applies, and of the note; return the new label."""
    finding_id, to = str(record["finding_id"]), None
    with st.container(horizontal=True, gap="small"):
        if "relabel" in offered(record, page.verdicts):
            to = _relabel_to(page, record)
        own = page.standing[(page.standing["finding_id"] == finding_id) & (page.standing["reviewer"] == reviewer())]
        st.session_state.setdefault(page.key(f"note {finding_id}"), own["note"].iloc[-1] if len(own) else "")
        st.text_input(
            "Note",
            key=page.key(f"note {finding_id}"),
            placeholder="Stored with the decision",
            max_chars=_LONGEST_NOTE,
            persist_state="session",
        )
    return to


def _relabel_to(page: Page, record: Mapping[str, Any]) -> str | None:
    classes = page.run.classes or filters.choices(page.run, page.filters.checks)["labels"]
    of_partner = record["evidence"].get("partner_label")
    of_partner = of_partner[0] if isinstance(of_partner, list) and len(of_partner) == 1 else of_partner
    suggested = record["suggested_label"] or (of_partner if isinstance(of_partner, str) else None)
    options = [*([suggested] if suggested else []), *(name for name in classes if name not in (suggested, record["label"]))]
    known = {*options, record["label"]}
    chosen = st.selectbox(
        "Relabel to",
        options,
        index=0 if suggested else None,
        key=page.key(f"label {record['finding_id']}"),
        format_func=lambda name: label(name, page.words) if name in known else f"{name} (new class)",
        accept_new_options=True,
        placeholder="Choose a class, or type a new one",
    )
    return str(chosen) if chosen else None


def _decide_one(page: Page, finding_id: str, verdict: str, new_label: str | None) -> None:
    note = str(st.session_state.get(page.key(f"note {finding_id}"), ""))
    label_ = new_label if verdict == "relabel" else None
    if decide_about(page.run, [finding_id], verdict, page.verdicts, new_label=label_, note=note):
        page.go(next_undecided(page.queue, finding_id, verdict_of(decisions_of(page.run).current())))


def _decisions(page: Page, finding_id: str) -> None:
    """Draw the decisions about the finding, with reviewers and notes."""
    own = page.standing[page.standing["finding_id"] == finding_id].to_dict("records")
    lines = []
    for decision in own:
        to = f" to {label(decision['label'], page.words)}" if decision["label"] else ""
        note = f": {decision['note']}" if decision["note"] else ""
        lines.append(f"**{literal(decision['reviewer'])}** {literal(verdict_name(decision['verdict']) + to + note)}")
    if lines:
        st.markdown("  \n".join(lines))


def _warn_of_dropped_copies(page: Page, record: Mapping[str, Any]) -> None:
    """Warn if the image's copy is already dropped, because accepting every proposal would drop both."""
    partner = record["evidence"].get("partner")
    drops = page.standing[(page.standing["verdict"] == "drop") & page.standing["sample_id"].notna()]["sample_id"].tolist()
    if not isinstance(partner, str) or not drops:
        return
    row, *others = (int(found) for found in page.run.rows_of([str(record["sample_id"]), *drops]))
    last = any(row in gone for gone in groups_gone(page.run, np.array([row, *others], np.int64)))
    if last and row not in others:
        st.warning("All other copies of this image are already dropped. If you drop this one too, none is left.", icon=":material/content_copy:")
    elif partner in drops:
        st.warning(f"The copy {literal(partner)} is already dropped.", icon=":material/content_copy:")


def _images(page: Page, record: Mapping[str, Any], names: Sequence[str]) -> None:
    """Draw the image and its partner large; for a class or the dataset, examples."""
    rows = [int(row) for row in page.run.rows_of(names) if row >= 0] if names else []
    where = boxes_of(record["evidence"])
    facts = page.run.columns("sample_id", "label", "split", "width", "height", rows=np.array(rows, np.int64)).to_dict("records")
    captions = [_caption(fact, page.words) for fact in facts]
    if record["sample_id"] is None:
        st.caption("This finding is about several images" + ("; these are examples." if rows else "."))
        images.gallery(page.run, rows, captions, boxes=where)
        return
    for column, row, fact, caption, boxes in zip(st.columns(max(len(rows), 1)), rows, facts, captions, (where, []), strict=False):
        data = images.large(page.run, row)
        images.show(column, data and outlined(data, boxes), alt=f"{short(fact['sample_id'])}, labelled {fact['label']}")
        column.caption(f"{literal(short(fact['sample_id'], 60))}  \n{caption}", help=literal(fact["sample_id"]))


def _caption(fact: Mapping[Any, Any], words: Mapping[str, str]) -> str:
    size = f" · {int(fact['width'])} x {int(fact['height'])}" if fact["width"] == fact["width"] and fact["width"] else ""
    split = f" · {literal(fact['split'])}" if isinstance(fact["split"], str) else ""
    given = literal(label(fact["label"] if isinstance(fact["label"], str) else None, words))
    return f"{given}{split}{size}"


def _facts(page: Page, record: Mapping[str, Any]) -> None:
    rows = [("Score", f"{record['score']:.2f}"), ("Check", check_title(record["check"]))]
    rows += [("Split", record["split"])] if record["split"] else []
    rows += evidence_lines(str(record["check"]), record["evidence"], page.words)
    with st.expander("Evidence", expanded=True, icon=":material/fact_check:"):
        st.markdown("\n".join(f"- {literal(name)}: **{literal(text)}**" for name, text in rows))


def _neighbors(page: Page, record: Mapping[str, Any]) -> None:
    row = int(page.run.rows_of([record["sample_id"]])[0])
    try:
        near, similarity = page.run.neighbors_of(row)
    except AuditError:
        return
    valid = np.flatnonzero(near >= 0)[:_NEIGHBORS]
    if not len(valid):
        return
    st.markdown("**Most similar images**")
    rows = [int(other) for other in near[valid]]
    given = page.run.columns("label", rows=np.array(rows))["label"]
    captions = [
        f"{literal(label(name if isinstance(name, str) else None, page.words))}  \nsimilarity {cosine:.2f}"
        for name, cosine in zip(given, similarity[valid], strict=True)
    ]
    images.gallery(page.run, rows, captions)
