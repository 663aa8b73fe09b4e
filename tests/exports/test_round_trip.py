"""Exported lists can be scanned again with the same names and labels."""

import io
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from audit import ScanOptions, scan
from audit.exports import export
from audit.review.decisions import Decision, Decisions
from audit.sources import SourceOptions, open_source

OPTIONS = ScanOptions(backbone="embedded", device="cpu", workers=1, only=("integrity",))
NAMES = ["=1+1.png", "-b.png", "@c.png", "'=d.png", " e.png", "f,g;h.png", os.fsdecode(b"caf\xe9.png"), "z.png"]


def png(value):
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(value).integers(0, 256, (16, 16, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two classes with unusual file names; one image is relabelled."""
    folder = tmp_path_factory.mktemp("odd")
    for at, label in enumerate(("=cat", "-1")):
        (folder / "set" / label).mkdir(parents=True)
        for number, name in enumerate(NAMES):
            (folder / "set" / label / name).write_bytes(png(10 * at + number))
    run = scan(folder / "set", folder / "run", options=OPTIONS)
    decided = run.samples[run.samples["sample_id"] == "-1/=1+1.png"].iloc[0]
    answer = {"verdict": "relabel", "label": "=cat", "given_label": "-1"}
    Decisions(run.path).append([Decision(reviewer="ada", content_id=decided["content_id"], sample_id=decided["sample_id"], **answer)])
    return run


def listed(path, **options):
    source = open_source(str(path), SourceOptions(**options))
    return {sample.sample_id: sample for sample in source.collect()}, source


def labels_of(samples):
    return {name: sample.label for name, sample in samples.items()}


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_scans_a_cleaned_manifest(run, tmp_path, ending):
    dataset = run.path.parent / "set"
    out = dataset / f"cleaned.{ending}"
    export(run, "cleaned-manifest", out)
    try:
        found, source = listed(out)
    finally:
        out.unlink()
    before = dict(zip(run.samples["sample_id"], run.samples["label"], strict=True))
    assert labels_of(found) == before | {"-1/=1+1.png": "=cat"}
    assert {source.read(sample.source_ref) for sample in found.values()} == {png(10 * at + number) for at in (0, 1) for number in range(len(NAMES))}
    assert source.problems == []


@pytest.mark.parametrize("what", ["cleaned-manifest", "corrected-labels"])
def test_reads_labels_from_a_list(run, tmp_path, what):
    out = tmp_path / "list.csv"
    export(run, what, out)
    found, source = listed(run.path.parent / "set", labels_file=str(out))
    before = dict(zip(run.samples["sample_id"], run.samples["label"], strict=True))
    assert labels_of(found) == before | {"-1/=1+1.png": "=cat"}
    assert source.problems == []


def test_reads_several_labels_per_image(tmp_path):
    sets = [["cat", "dog"], ["a;b", "c|d"], ["cat"], ["e;f"], ["[1]"]]
    for number in range(len(sets)):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    rows = {"path": [f"{number}.png" for number in range(len(sets))], "labels": sets}
    pq.write_table(pa.table(rows), tmp_path / "m.parquet")
    run = scan(tmp_path / "m.parquet", tmp_path.parent / f"{tmp_path.name}-run", options=OPTIONS)
    export(run, "cleaned-manifest", tmp_path / "cleaned.csv")
    found, _ = listed(tmp_path / "cleaned.csv")
    assert [list(sample.labels or [sample.label]) for _, sample in sorted(found.items())] == sets
