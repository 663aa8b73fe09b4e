import importlib.util
from pathlib import Path

import pytest

from audit.checks.base import Finding

PATH = Path(__file__).parents[2] / "benchmarks" / "planted_bias.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("planted_bias", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("label", "kind", "false"),
    [("a", "mark", False), ("a", "property_mode", True), ("b", "property_camera", False), ("c", "mark", True), (None, "property_column_x", True)],
)
def test_findings_about_the_control_are_false(benchmark, label, kind, false):
    planted, also = {("a", "mark"): "mark on 30%, 6 px", ("c", "mark"): benchmark.NOTHING}, {("b", "property_camera")}
    assert benchmark.is_false(Finding(kind=kind, score=1, message="", label=label), planted, also) == false
