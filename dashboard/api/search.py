"""Find images by name, class or content id."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from audit.explain.explanation import SHORTEST_CONTENT_ID

if TYPE_CHECKING:
    import numpy.typing as npt

    from audit.run.run import Run


def matching_rows(run: Run, text: str, limit: int) -> npt.NDArray[np.int64]:
    """Return the rows whose sample id or class contains a text (ignoring case), or whose content id starts with it.

    A class matches by its label and by its class words.
    """
    import pyarrow.compute as pc

    if not text:
        return np.empty(0, np.int64)
    hits = pc.match_substring(run.sample_ids, text, ignore_case=True).to_numpy()
    columns = run.columns("label", *(("content_id",) if len(text) >= SHORTEST_CONTENT_ID else ()))
    words = run.record.get("class_words") or {}
    classes = [name for name in columns["label"].dropna().unique() if text.lower() in f"{name} {words.get(name, '')}".lower()]
    hits = hits | columns["label"].isin(classes).to_numpy()
    if "content_id" in columns:
        hits = hits | columns["content_id"].str.startswith(text.lower()).fillna(value=False).to_numpy(bool)
    return np.flatnonzero(hits)[:limit]
