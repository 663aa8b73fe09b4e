import runpy
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "label_errors.py"


def test_calibration_error(monkeypatch):
    monkeypatch.syspath_prepend(PATH.parent)
    expected_calibration_error = runpy.run_path(str(PATH))["expected_calibration_error"]
    happened = np.arange(1000) % 2 == 0
    assert expected_calibration_error(np.full(1000, 0.5), happened, bins=5) == pytest.approx(0)
    assert expected_calibration_error(np.full(1000, 0.9), happened, bins=5) == pytest.approx(0.4)
    assert expected_calibration_error(np.empty(0), np.empty(0, bool)) == 0
