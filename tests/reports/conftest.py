"""A finished run of the demo, and a run with hostile names."""

import base64

import numpy as np
import pyarrow as pa
import pytest

from audit.io.artifacts import read_table, to_frame, write_array, write_table
from audit.run.run import Run
from audit.tables import FINDINGS, SAMPLES

HOSTILE = (
    '<script>alert(1)</script>"onload=x/1.jpg',
    "=HYPERLINK(0)|@me/`2`.jpg",
    "\x1b[31m\u202e[a](http://x)\n# 3.jpg",
    "![i](//x)<img src=x onerror=y>.jpg",
)


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory):
    import audit
    from audit import demo

    folder = tmp_path_factory.mktemp("demo")
    demo.make(folder / "images")
    return audit.scan(folder / "images", folder / "run", options=audit.ScanOptions(backbone="embedded", workers=1))


@pytest.fixture
def hostile_run(small_run):
    """Return the small run with hostile names, labels, messages and evidence."""
    samples = to_frame(read_table(small_run.path / "samples.parquet"))
    names = dict(zip(samples["sample_id"], [*HOSTILE, "5.jpg", "6.jpg"], strict=True))
    samples["sample_id"] = samples["sample_id"].map(names)
    samples["label"] = HOSTILE[0]
    samples["split"] = HOSTILE[3]
    samples = samples.astype({"labels": object})
    samples["labels"] = None
    write_table(small_run.path / "samples.parquet", pa.Table.from_pandas(samples, SAMPLES, preserve_index=False))
    for path in (small_run.path / "findings").iterdir():
        findings = to_frame(read_table(path))
        if len(findings):
            findings["sample_id"] = findings["sample_id"].map(names)
            findings["label"], findings["suggested_label"], findings["split"] = HOSTILE[0], HOSTILE[3], HOSTILE[3]
            findings["message"] = [HOSTILE[at % 4] for at in range(len(findings))]
            findings["evidence"] = '{"<b>key</b>": "<script>alert(2)</script>", "partner": "5.jpg"}'
            write_table(path, pa.Table.from_pandas(findings, FINDINGS, preserve_index=False))
    write_array(small_run.path / "thumbnails.npy", np.full((6, 32, 32, 3), 99, np.uint8))
    run = Run(small_run.path)
    run.record["source"]["location"] = HOSTILE[0]
    run.record["source"].pop("absolute", None)
    run.record["checks"]["label_errors"]["reason"] = HOSTILE[1]
    return run


def decoded(uri):
    return base64.b64decode(uri.partition(",")[2])
