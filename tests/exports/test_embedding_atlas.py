"""Embedding Atlas reads one Parquet file: positions, images, neighbors."""

import shutil

import pandas as pd

from audit import open_run
from audit.exports import export
from audit.review.decisions import Decision, Decisions


def test_writes_the_map(marked_run, tmp_path):
    run = open_run(shutil.copytree(marked_run.path, tmp_path / "run"))
    name, content = run.samples.loc[3, ["sample_id", "content_id"]]
    Decisions(run.path).append([Decision(verdict="drop", reviewer="ann", content_id=content, sample_id=name)])
    assert export(run, "embedding-atlas", tmp_path / "map.parquet") == {"images": int(run.record["counts"]["scanned"])}
    table = pd.read_parquet(tmp_path / "map.parquet")
    assert table[["projection_x", "projection_y"]].to_numpy().min() >= 0
    assert table.loc[table["decision"] == "drop", "sample_id"].tolist() == [name]
    assert all(image["bytes"][:2] == b"\xff\xd8" for image in table["image"])
    near = table["neighbors"].iloc[0]
    assert len(near["ids"]) == len(near["distances"]) > 0
    assert max(near["ids"]) < len(table)
