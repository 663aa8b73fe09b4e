"""Readable files of a run that no scan writes: other columns, shapes, types or values.

Each command reports the file in one line, or works without it.
"""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit.cli import invoke

SAMPLE = "train/cat/cat-06.jpg"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert invoke(["demo", "--out", str(folder / "run"), "--backbone", "embedded-small", "--offline", "--quiet"]) == 0
    return folder / "run", folder / "run-images"


def other_columns(table):
    return pa.table({"a": [1]})


def first(column, value):
    """Put a value into the first row."""

    def change(table):
        values = [value, *table[column].to_pylist()[1:]]
        at = table.column_names.index(column)
        return table.set_column(at, pa.field(column, table.schema.field(at).type), pa.array(values, table.schema.field(at).type))

    return change


TABLES = {
    "samples of other columns": ("samples.parquet", other_columns),
    "samples without outcome": ("samples.parquet", lambda table: table.drop_columns(["outcome"])),
    "samples twice": ("samples.parquet", lambda table: pa.concat_tables([table, table])),
    "fewer samples": ("samples.parquet", lambda table: table.slice(0, 10)),
    "an unknown outcome": ("samples.parquet", first("outcome", "weird")),
    "pairs of other columns": ("pairs.parquet", other_columns),
    "a pair out of range": ("pairs.parquet", first("j", 100_000)),
    "a pair without score": ("pairs.parquet", first("score", None)),
    "findings of other columns": ("findings/label_errors.parquet", other_columns),
    "evidence that is not JSON": ("findings/label_errors.parquet", first("evidence", "{not json")),
    "evidence that is not an object": ("findings/label_errors.parquet", first("evidence", "[1]")),
    "an unknown severity": ("findings/label_errors.parquet", first("severity", "huge")),
}
ARRAYS = {
    "fewer neighbors": ("neighbors.npy", lambda array: array[:, :3]),
    "neighbors in one dimension": ("neighbors.npy", lambda array: array[:, 0]),
    "neighbors out of range": ("neighbors.npy", lambda array: array + 100_000),
    "fewer similarities": ("similarities.npy", lambda array: array[:, :3]),
    "similarities that are texts": ("similarities.npy", lambda array: array.astype("S3")),
    "embeddings that are texts": ("embeddings.npy", lambda array: array.astype("U4")),
    "a number for embeddings": ("embeddings.npy", lambda array: np.float16(1)),
    "scores that are texts": ("scores/label_errors.npy", lambda array: array.astype("U3")),
    "scores in two dimensions": ("scores/label_errors.npy", lambda array: np.stack([array, array], 1)),
}


def put(path, change):
    if path.suffix == ".parquet":
        pq.write_table(change(pq.read_table(path, partitioning=None)), path)
    else:
        np.save(path, change(np.load(path)))


@pytest.mark.parametrize(("name", "change"), [*TABLES.values(), *ARRAYS.values()], ids=[*TABLES, *ARRAYS])
def test_invalid_file_is_reported_and_recreated(tmp_path, finished, command, name, change):
    run = shutil.copytree(finished[0], tmp_path / "run")
    put(run / name, change)
    commands = [
        ("explain", run, SAMPLE),
        ("report", run, "--out", tmp_path / "report.html"),
        ("report", run, "--out", tmp_path / "report.json"),
        ("diff", run, run),
        ("export", run, "--what", "drop-list", "--out", tmp_path / "drop.csv"),
    ]
    answers = [command(*arguments) for arguments in commands]
    assert all(answer.is_clean for answer in answers), [answer.err for answer in answers]
    refused = [" ".join(answer.err.split()) for answer in answers if answer.code == 2]
    assert any(": corrupt: " in error and name in error for error in refused), refused
    answer = command("scan", finished[1], "--out", run, "--backbone", "embedded-small", "--offline")
    assert answer.code == 0, answer.err
    assert f"{name}: corrupt: " in " ".join(answer.err.split())
    assert command("explain", run, SAMPLE).code == 0


@pytest.mark.parametrize(
    ("what", "more"), [("samples without outcome", ()), ("pairs of other columns", ()), ("embeddings that are texts", ("--seed", "1"))]
)
def test_scan_reports_invalid_file_without_recorded_checksums(tmp_path, finished, command, what, more):
    run = shutil.copytree(finished[0], tmp_path / "run")
    record = json.loads((run / "run.json").read_bytes())
    (run / "run.json").write_text(json.dumps({**record, "files": {}}))
    name, change = {**TABLES, **ARRAYS}[what]
    put(run / name, change)
    answer = command("scan", finished[1], "--out", run, "--backbone", "embedded-small", "--offline", *more)
    assert (answer.code, answer.is_clean) == (2, True), answer.err
    assert f"{name}: corrupt: " in " ".join(answer.err.split())
