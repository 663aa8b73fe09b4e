import json
from pathlib import Path

import numpy as np
import pandas as pd

from audit.tables import FINDINGS
from reports.json import plain, render


def test_contains_every_finding_and_column(small_run):
    document = json.loads(render(small_run))
    assert [finding["finding_id"] for finding in document["findings"]][:2] == ["f1", "f2"]
    assert {finding["finding_id"] for finding in document["findings"]} == set(small_run.findings["finding_id"])
    assert all(list(finding) == FINDINGS.names for finding in document["findings"])
    assert document["findings"][0]["suggested_label"] == "n2"
    assert document["findings"][1]["suggested_label"] is None
    assert document["findings"][2]["evidence"] == {"cosine": 0.991}


def test_summary_and_record_agree(small_run):
    document = json.loads(render(small_run))
    assert document["summary"]["counts"]["listed"] == document["run"]["counts"]["listed"] == 6
    assert document["summary"]["findings"] == len(document["findings"])


def test_is_ascii_and_strict(small_run):
    text = render(small_run)
    assert text.isascii()
    json.loads(text, parse_constant=lambda name: (_ for _ in ()).throw(AssertionError(name)))


def test_converts_values():
    mixed = {"a": np.float32(0.5), "b": np.array([1, 2]), "c": float("nan"), "d": pd.NA, "e": Path("x"), "f": (True, None), "g": np.float32("nan")}
    assert plain(mixed) == {"a": 0.5, "b": [1, 2], "c": None, "d": None, "e": "x", "f": [True, None], "g": None}
