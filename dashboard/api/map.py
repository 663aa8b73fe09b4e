"""The map page: positions of images, and what they can be colored by."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.errors import AuditError
from audit.explain.projection import MOST, project, stored
from audit.tables import cell_value
from dashboard.api.desk import Verdicts
from dashboard.api.verdicts import verdict_name
from reports.content.wording import check_title, label

if TYPE_CHECKING:
    import numpy.typing as npt

    from dashboard.api.desk import Desk

NOTHING = "no finding"
UNDECIDED = "undecided"
_COLUMNS = ("label", "split", "format")
_starting = threading.Lock()


def map_of(desk: Desk) -> dict[str, Any]:
    """Return the map with its colorings; ``{"state": "computing"}`` until it is computed in the background.

    Raises:
        AuditError: it cannot be computed.
    """
    found = desk.maps.get("done") or stored(desk.run)
    if found is None:
        with _starting:
            if "problem" in desk.maps:
                raise desk.maps["problem"]
            if "thread" not in desk.maps:
                desk.maps["thread"] = threading.Thread(target=_compute, args=(desk,), daemon=True)
                desk.maps["thread"].start()
        return {"state": "computing"}
    desk.maps["done"] = found
    return {
        "state": "done",
        "of": len(desk.run) if len(found.rows) == MOST else len(found.rows),
        "rows": found.rows.tolist(),
        "x": np.round(found.positions[:, 0].astype(np.float64), 4).tolist(),
        "y": np.round(found.positions[:, 1].astype(np.float64), 4).tolist(),
        "colors": _colors(desk, found.rows),
    }


def _compute(desk: Desk) -> None:
    try:
        desk.maps["done"] = project(desk.run)
    except AuditError as error:
        desk.maps["problem"] = error
    except Exception as error:  # noqa: BLE001 - it runs in a thread; the page shows it
        desk.maps["problem"] = AuditError("map", f"{type(error).__name__}: {error}", "please report this bug")


def _colors(desk: Desk, rows: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Return title -> ``{names, codes}`` for categories, ``{values}`` in 0..1 for a measure."""
    run = desk.run
    words = run.record.get("class_words") or {}
    columns = run.columns("sample_id", *_COLUMNS, rows=rows)
    found = {"Class": _categories([label(cell_value(name), words) for name in columns["label"]])}
    found["Finding"] = _categories(_checks(desk, columns["sample_id"].tolist()), last=NOTHING)
    found["Verdict"] = _categories(_verdicts(desk, rows), last=UNDECIDED)
    for column in ("split", "format"):
        if columns[column].nunique() > 1:
            found[column.capitalize()] = _categories([str(cell_value(value) or "none") for value in columns[column]])
    try:
        wrong = run.label_quality["probability_wrong"].to_numpy(np.float32, na_value=0.0)[rows]
    except AuditError:
        return found
    return found | {"Probability that the label is wrong": {"values": np.round(np.nan_to_num(wrong).astype(np.float64), 3).tolist()}}


def _checks(desk: Desk, names: list[str]) -> list[str]:
    """Return the check of each image's worst finding."""
    index = desk.run.findings_index
    worst = index[index["sample_id"].notna()].drop_duplicates("sample_id").set_index("sample_id")["check"].astype(str)
    titles = {check: check_title(check) for check in worst.unique()}
    return [titles.get(check, NOTHING) for check in worst.reindex(names)]


def _verdicts(desk: Desk, rows: npt.NDArray[np.int64]) -> list[str]:
    if desk.standing().empty:
        return [UNDECIDED] * len(rows)
    verdicts = Verdicts(desk.standing())
    cards = (desk.cards.of(f"row:{row}") for row in rows.tolist())
    return [verdict_name(found) if card is not None and (found := verdicts.of(card)) else UNDECIDED for card in cards]


def _categories(values: list[str], last: str | None = None) -> dict[str, Any]:
    names = sorted(set(values) - {last}) + ([last] if last is not None else [])
    code = {name: at for at, name in enumerate(names)}
    return {"names": names, "codes": [code[value] for value in values]}
