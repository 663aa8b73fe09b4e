"""Benchmarks at size, run small so that they keep working."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(script, *arguments):
    command = [sys.executable, str(ROOT / "benchmarks" / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)


@pytest.fixture(scope="module")
def cost_model():
    spec = importlib.util.spec_from_file_location("cost_model", ROOT / "benchmarks" / "cost_model.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(ROOT / "benchmarks")  # as when it is run: it imports modules from its own folder
        spec.loader.exec_module(module)
    return module


def test_reports_a_missing_gpu():
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert run("gpu.py").stdout == "PyTorch finds no usable GPU: nothing was measured\n"


@pytest.mark.slow
def test_finds_planted_errors_at_size(tmp_path):
    printed = run(
        "at_size.py", tmp_path / "made", "--rows", 1200, "--classes", 8, "--stages", "make,neighbors,pairs,predictions,checks,confusion"
    ).stdout
    assert "recall of planted near-copies | 1.0000 (12 of 12)" in printed
    assert "recall of planted identical copies | 1.0000 (4 of 4)" in printed
    assert "wrong pairs | 0 |" in printed
    assert set(json.loads((tmp_path / "made" / "measured.json").read_text())) == {"make", "neighbors", "pairs", "predictions", "checks", "confusion"}


def test_cost_model_recovers_coefficients(cost_model):
    points = [
        cost_model.Point(rows, 100, 512, {"pairs": 2e-3 * rows, "checks": 5 + 1e-4 * rows, "neighbors": 1e-5 * rows**1.5}, 1.0, str(rows))
        for rows in (60_000, 200_000, 900_000)
    ]
    for stage, expected in (("pairs", 28_000), ("checks", 1405), ("neighbors", 1e-5 * 14e6**1.5)):
        assert np.isclose(cost_model.predict(stage, cost_model.fit(stage, points), 14_000_000, 100, 512), expected, rtol=1e-3)


def test_exact_search_does_not_predict_approximate_search(cost_model):
    small = [cost_model.Point(rows, 10, 512, {"neighbors": 1e-9 * rows**2 * 512}, 1.0, str(rows)) for rows in (3000, 12_000)]
    assert cost_model.predict("neighbors", cost_model.fit("neighbors", small), 1_000_000, 10, 512) == 0


def test_warns_if_no_point_has_enough_classes(cost_model):
    points = [cost_model.Point(rows, 40, 512, {"predictions": 1.0}, 1.0, str(rows)) for rows in (3000, 110_000)]
    assert cost_model.few_classes(points, 1000).startswith("no point has more than 40 classes: predictions with 1,000 are a guess")
    assert cost_model.few_classes(points, 80) is None
    assert cost_model.few_classes([*points, cost_model.Point(200_000, 1000, 512, {"predictions": 1.0}, 1.0, "")], 1000) is None
