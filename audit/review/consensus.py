"""Turn decisions into one action per image: find the image of each decision, and the consensus of its reviewers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audit.review.agreement import answers
from audit.run.findings import identity
from audit.run.identity import content_keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from audit.run.run import Run

ACTIONS = ("drop", "disputed", "relabel", "accept", "keep", "unsure")
"""Actions for an image, the strongest first; if its findings have different answers, the strongest counts. ``disputed``: reviewers differ, so no
action is taken."""


def rows_of(decisions: pd.DataFrame, samples: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return the row of the image that each decision is about, matched by content.

    Byte-identical copies are distinguished by the name they had at the time of the decision, and renamed ones by their ordinal. If a copy was removed
    since, the match is ambiguous, and the decision applies to none.

    Args:
        decisions: as `audit.review.decisions.Decisions.current` returns them.
        samples: columns ``sample_id`` and ``content_id``; row *i* is sample *i*.

    Returns:
        int64, a row, or -1 if the run has no such image.
    """
    wanted = {content for content in decisions["content_id"] if isinstance(content, str)}
    candidates = np.flatnonzero(samples["content_id"].isin(wanted) | samples["content_id"].isna()).tolist()
    names: dict[int, str] = {}
    of_content: dict[str, list[int]] = {}
    for row, sample_id, content in zip(candidates, *(samples[name].iloc[candidates] for name in ("sample_id", "content_id")), strict=True):
        names[row] = str(sample_id)
        of_content.setdefault(identity(content if isinstance(content, str) else None, str(sample_id)), []).append(row)
    found = np.full(len(decisions), -1, np.int64)
    decided = list(zip(decisions["sample_id"].tolist(), decisions["copies"].tolist(), strict=True))
    positions_of: dict[str, dict[int, list[int]]] = {}  # content -> ordinal -> positions among the decisions, the oldest first
    for position, (content, ordinal) in enumerate(zip(decisions["content_id"], decisions["ordinal"], strict=True)):
        if content in of_content:
            positions_of.setdefault(content, {}).setdefault(int(ordinal), []).append(position)
    for content, ordinals in positions_of.items():
        known = {ordinal: decided[positions[-1]] for ordinal, positions in ordinals.items()}
        for ordinal, row in _match_copies({names[row]: row for row in of_content[content]}, known).items():
            found[ordinals[ordinal]] = row
    return found


def _match_copies(rows: Mapping[str, int], known: Mapping[int, tuple[str | None, int]]) -> dict[int, int]:
    """Return ordinal -> row for byte-identical copies, given their present and former names; see `rows_of`."""
    found = {ordinal: rows[name] for ordinal, (name, _) in known.items() if name is not None and name in rows}
    in_order: Sequence[int] = list(rows.values())
    taken = set(found.values())
    free = (row for row in in_order if row not in taken)  # one pass: a placeholder image may have thousands of copies
    for ordinal, (_, copies) in sorted(known.items()):
        if ordinal not in found and len(in_order) >= copies:
            own = in_order[ordinal] if ordinal < len(in_order) and in_order[ordinal] not in taken else next(free, None)
            if own is None:
                break
            found[ordinal] = own
            taken.add(own)
    return found


def consensus(decisions: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """Return the consensus action for each image with decisions.

    For each finding, the most frequent answer counts; a tie is a dispute, and ``unsure`` is not an answer. For each image, the strongest answer of
    its findings counts, in the order of `ACTIONS`; two different new labels are a dispute.

    Args:
        decisions: as `audit.review.decisions.Decisions.current` returns them.
        samples: columns ``sample_id``, ``content_id`` and ``label``; row *i* is sample *i*.

    Returns:
        One row per image, by row: ``row, sample_id, content_id, given_label, action, label, reviewers, checks, note``. ``label`` is the new label for
        ``relabel``, else None. Reviewers and checks are joined by ``,`` and notes by ``; ``.
    """
    import pandas as pd

    columns = ["row", "sample_id", "content_id", "given_label", "action", "label", "reviewers", "checks", "note"]
    placed = decisions.assign(row=rows_of(decisions, samples))
    placed = placed[placed["row"] >= 0]
    answered = answers(placed)
    votes = answered.groupby(["row", "subject", "answer"]).size().rename("votes").reset_index()
    top = votes[votes["votes"] == votes.groupby(["row", "subject"])["votes"].transform("max")]
    tied = top.groupby(["row", "subject"])["answer"].transform("size") > 1
    by_finding = top.assign(answer=top["answer"].where(~tied, "disputed:"))
    by_row = by_finding.groupby("row")["answer"].agg(lambda given: sorted(set(given)))
    rows = []
    for row, group in placed.groupby("row"):
        action, label = _strongest(by_row.get(row, []))
        sample = samples.iloc[int(str(row))]
        given, content = sample["label"], sample["content_id"]
        rows.append(
            [
                row,
                sample["sample_id"],
                content if isinstance(content, str) else None,
                given if isinstance(given, str) else None,
                action,
                label,
                *(_joined(group[name], ",") for name in ("reviewer", "check")),
                _joined(group["note"], "; "),
            ]
        )
    return pd.DataFrame(rows, columns=columns).sort_values("row").reset_index(drop=True)


def consensus_of_run(run: Run, decisions: pd.DataFrame) -> pd.DataFrame:
    """Return `consensus` for a finished run, reading only the samples whose content was decided about."""
    rows = _rows_read(run, decisions)
    found = consensus(decisions, run.columns("sample_id", "content_id", "label", rows=rows))
    return found.assign(row=rows[found["row"].to_numpy(np.int64)])


def rows_of_run(run: Run, decisions: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return `rows_of` for a finished run, reading only the samples whose content was decided about."""
    rows = _rows_read(run, decisions)
    found = rows_of(decisions, run.columns("sample_id", "content_id", rows=rows))
    return np.where(found >= 0, np.append(rows, -1)[found], -1)


def _rows_read(run: Run, decisions: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return the rows of images whose content was decided about, and of unreadable ones, whose content is unknown."""
    if not len(decisions):
        return np.empty(0, np.int64)
    wanted = content_keys(pa.array(decisions["content_id"].dropna().unique(), pa.string()))
    return np.flatnonzero(np.isin(run.content_keys, np.append(wanted, np.uint64(0))))


def groups_gone(run: Run, leaving: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Return the groups of verified copies of which every image would be dropped.

    Args:
        run: a finished run; a run without pairs has no groups.
        leaving: rows to be dropped.

    Returns:
        int64 rows of each such group, sorted by first row.
    """
    import pandas as pd

    if not len(leaving) or not (run.tables / "pairs.parquet").is_file():
        return []
    pairs = run.pairs[run.pairs["group"] >= 0]
    touched = pairs[np.isin(pairs["i"], leaving) & np.isin(pairs["j"], leaving)]["group"]
    pairs = pairs[pairs["group"].isin(touched)]
    members = pd.concat([pairs[[side, "group"]].set_axis(["row", "group"], axis=1) for side in ("i", "j")]).drop_duplicates()
    gone = members.assign(leaves=np.isin(members["row"], leaving)).groupby("group")["leaves"].transform("all")
    return sorted((np.sort(rows.to_numpy(np.int64)) for _, rows in members[gone].groupby("group")["row"]), key=lambda rows: int(rows[0]))


def _strongest(given: Sequence[str]) -> tuple[str, str | None]:
    """Return the action and the new label of an image from the answers of its findings."""
    labels = {answer.partition(":")[2] for answer in given if answer.startswith("relabel:")}
    actions = {answer.partition(":")[0] for answer in given} | ({"disputed"} if len(labels) > 1 else set())
    action = next((action for action in ACTIONS if action in actions), "unsure")
    return action, min(labels) if action == "relabel" else None


def _joined(values: pd.Series[str], separator: str) -> str:
    return separator.join(sorted({value for value in values.dropna() if value}))
