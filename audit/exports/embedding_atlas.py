"""The map for Embedding Atlas: positions, previews, nearest images, labels, findings and decisions, one row per image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from audit.errors import AuditError
from audit.explain.projection import project
from audit.images.previews import previews
from audit.io.artifacts import write_table
from audit.tables import cell_value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt
    import pandas as pd

    from audit.run.run import Run

ENDINGS = (".parquet",)

_IMAGE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
_NEAR = pa.struct([pa.field("ids", pa.list_(pa.int64())), pa.field("distances", pa.list_(pa.float32()))])
_AT_ONCE = 512


def write(run: Run, actions: pd.DataFrame, out: Path) -> dict[str, Any]:
    """Write the images on the map; for a large run these are a random sample, see `audit.explain.projection.project`."""
    found = project(run)
    rows = found.rows
    columns = run.columns("sample_id", "label", "split", rows=rows)
    names = [str(name) for name in columns["sample_id"]]
    index = run.findings_index
    worst = index[index["sample_id"].notna()].drop_duplicates("sample_id").set_index("sample_id")
    decided = dict(zip(actions["sample_id"], actions["action"], strict=True))
    table = {
        "sample_id": pa.array(names, pa.string()),
        "label": _texts(columns["label"]),
        "split": _texts(columns["split"]),
        "finding": _texts(worst["check"].reindex(names)),
        "severity": _texts(worst["severity"].reindex(names)),
        "suggested_label": _texts(worst["suggested_label"].reindex(names)),
        "decision": pa.array([decided.get(name) for name in names], pa.string()),
        "projection_x": pa.array(found.positions[:, 0]),
        "projection_y": pa.array(found.positions[:, 1]),
        "image": pa.array(list(_images(run, rows, names)), _IMAGE),
    }
    try:
        table["probability_wrong"] = pa.array(run.label_quality["probability_wrong"].to_numpy(np.float32, na_value=np.nan)[rows])
        table["neighbors"] = pa.array(list(_near(run, rows)), _NEAR)
    except AuditError:  # a run without predictions or neighbors
        pass
    write_table(out, pa.table(table))
    return {"images": len(rows)}


def _images(run: Run, rows: npt.NDArray[np.int64], names: list[str]) -> Iterator[dict[str, Any]]:
    for start in range(0, len(rows), _AT_ONCE):
        part = previews(run, rows[start : start + _AT_ONCE].tolist())
        yield from ({"bytes": data, "path": name} for data, name in zip(part, names[start : start + _AT_ONCE], strict=True))


def _near(run: Run, rows: npt.NDArray[np.int64]) -> Iterator[dict[str, Any]]:
    """Yield the nearest images that are on the map; ids are positions in the table, distances are 1 - cosine."""
    position = np.full(len(run) + 1, -1, np.int64)
    position[rows] = np.arange(len(rows))
    for row in rows.tolist():
        near, similarity = run.neighbors_of(row)
        at = position[near]
        yield {"ids": at[at >= 0].tolist(), "distances": (1 - similarity[at >= 0]).tolist()}


def _texts(values: pd.Series[Any]) -> pa.Array:
    return pa.array([cell_value(value) for value in values], pa.string())
