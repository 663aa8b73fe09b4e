"""Every row of the table "you have ... run ..." in docs/sources.md works, and nothing of any layout is lost without a finding."""

import importlib.util
import io
import json
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from audit.cli import invoke
from audit.sources import SourceOptions, open_source

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("layouts", Path(__file__).with_name("layouts.py"))
layouts = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(layouts)

ROW = re.compile(r"^\| (?P<have>[^|]+?) \| `imagenet-audit scan (?P<arguments>[^`]+)` \|", re.MULTILINE)
ROWS = {found["have"]: found["arguments"] for found in ROW.finditer((ROOT / "docs" / "sources.md").read_text("utf-8"))}


def inspected(arguments, capsys):
    code = invoke(["inspect", *arguments, "--json"])
    out = capsys.readouterr()
    assert code == 0, out.err
    return json.loads(out.out)


def test_table_and_layouts_have_the_same_rows():
    assert set(ROWS) == set(layouts.LAYOUTS)
    assert len(ROWS) >= 30


@pytest.mark.parametrize("have", layouts.LAYOUTS)
def test_row_of_the_table_works(have, tmp_path, monkeypatch, capsys):
    build, truth = layouts.LAYOUTS[have]
    monkeypatch.chdir(tmp_path)
    build()
    arguments = shlex.split(ROWS[have])
    at = arguments.index("--out")
    del arguments[at : at + 2]
    found = inspected(arguments, capsys)
    assert found["splits"] == truth.splits
    assert {name: one["images"] for name, one in found["classes"].items()} == truth.labels
    assert found["missing"] == 0


@pytest.mark.parametrize("have", layouts.LAYOUTS)
def test_nothing_is_lost_without_a_finding(have, tmp_path, monkeypatch, capsys):
    """Scanned without any option, a layout shows all images, splits and labels, or a finding says what else it may be."""
    build, truth = layouts.LAYOUTS[have]
    monkeypatch.chdir(tmp_path)
    build()
    found = inspected([shlex.split(ROWS[have])[0]], capsys)
    assert found["images"] == sum(truth.splits.values())
    splits = set(truth.splits) - {"(none)"} <= set(found["splits"])
    labels = {name: one["images"] for name, one in found["classes"].items()} == truth.labels
    kinds = {problem["kind"] for problem in found["problems"]}
    assert (splits and labels) or kinds & {"assumed_layout", "assumed_splits", "unused_labels", "no_label_column"}


@pytest.mark.parametrize("have", [have for have, (_, truth) in layouts.LAYOUTS.items() if truth.labels])
def test_images_of_every_layout_can_be_read(have, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    layouts.LAYOUTS[have][0]()
    arguments = shlex.split(ROWS[have])
    kind = arguments[arguments.index("--kind") + 1] if "--kind" in arguments else "auto"
    source = open_source(arguments[0], SourceOptions(kind=kind))
    samples = list(source.collect())
    assert all(Image.open(io.BytesIO(source.read(sample.source_ref))).size[0] >= 8 for sample in samples)
    assert len({sample.sample_id for sample in samples}) == len(samples)
