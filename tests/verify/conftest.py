"""Runs to compare with published facts: one written by hand, row by row."""

import json

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from audit.io.artifacts import write_json, write_table
from audit.run.run import Run
from audit.tables import FINDINGS, OUTCOMES, PAIRS, SAMPLES, SCHEMA_VERSION


@pytest.fixture(scope="session")
def photo():
    """Make an image that is unlike those of other seeds."""

    def make(seed, size=(72, 60)):
        coarse = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
        return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)

    return make


@pytest.fixture
def written(tmp_path):
    """Write a finished run: samples as (id, split, label), pairs as (row, row, relation), findings as (check, label, more)."""

    def write(samples, pairs=(), findings=(), done=()):
        path = tmp_path / "run"
        (path / "findings").mkdir(parents=True, exist_ok=True)
        rows = []
        for number, (sample_id, split, label) in enumerate(samples):
            row = dict.fromkeys(SAMPLES.names) | {"sample_id": sample_id, "source_ref": sample_id, "fingerprint": "", "outcome": "ok"}
            rows.append(row | {"split": split, "label": label, "content_id": f"{number:064x}"})
        write_table(path / "samples.parquet", pa.Table.from_pylist(rows, SAMPLES))
        paired = [
            dict.fromkeys(PAIRS.names) | {"i": i, "j": j, "relation": relation, "score": 1.0, "group": i, "evidence": "{}"}
            for i, j, relation in pairs
        ]
        write_table(path / "pairs.parquet", pa.Table.from_pylist(paired, PAIRS))
        checks = {*done, *(check for check, *_ in findings)}
        for check in checks:
            reported = []
            for number, (_, label, more) in enumerate(one for one in findings if one[0] == check):
                row = {"finding_id": f"{check}{number}", "check": check, "kind": check, "severity": "info", "score": 0.5, "label": label}
                row |= {"message": "", "subject": "sample" if "sample_id" in more else "class", "evidence": "{}"}
                reported.append(dict.fromkeys(FINDINGS.names) | row | {k: json.dumps(v) if k == "evidence" else v for k, v in more.items()})
            write_table(path / "findings" / f"{check}.parquet", pa.Table.from_pylist(reported, FINDINGS))
        record = {
            "schema_version": SCHEMA_VERSION,
            "version": "0.1.0",
            "source": {"kind": "folder", "location": "/data"},
            "options": {"source": {}},
            "backbone": {"name": "embedded", "licence": "Apache-2.0", "device": "cpu", "precision": "float32", "reason": "asked for"},
            "counts": {"listed": len(rows), "scanned": len(rows), "failed": 0, "outcomes": dict.fromkeys(OUTCOMES, 0) | {"ok": len(rows)}},
            "timings": {},
            "stages": {},
            "checks": {check: {"state": "done", "reason": None, "findings": 0, "seconds": 0.0} for check in checks}
            | {"attributes": {"state": "skipped", "reason": "no text tower", "findings": 0, "seconds": 0.0}},
            "finished": True,
        }
        write_json(path / "run.json", record)
        return Run(path)

    return write


@pytest.fixture(scope="session")
def fact():
    """Find one row of a comparison by the start of its text."""

    def find(rows, what):
        (row,) = [row for row in rows if row["what"].startswith(what)]
        return row

    return find
