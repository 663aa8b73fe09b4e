import numpy as np
import pandas as pd
import pytest

from audit.checks import discover
from audit.checks.base import skipped_without_classes
from audit.errors import ConfigError

SEVERAL = {"label": None, "labels": ["ant", "bee"]}


@pytest.mark.parametrize(
    ("check", "option", "value"),
    [
        ("attributes", "fewest", 0),
        ("class_balance", "copies", 1.5),
        ("class_balance", "false_discoveries", 1),
        ("class_balance", "skew", 1),
        ("class_overlap", "min_images", 0),
        ("crop_loss", "deviations", 0),
        ("crop_loss", "fewest", 0),
        ("image_quality", "deviations", 0),
        ("image_quality", "fewest", 0),
        ("image_quality", "odd_aspect", 1),
        ("image_quality", "odd_size", 0.5),
        ("outliers", "fewest", 0),
        ("outliers", "neighbor", 0),
        ("outliers", "threshold", float("nan")),
    ],
)
def test_refuses_options_outside_their_documented_range(check, option, value):
    options = discover()[check].options
    with pytest.raises(ConfigError, match=f"^{option}: {value} is "):
        options(**{option: value})


@pytest.mark.parametrize("check", ["marks", "same_source", "shortcuts", "subgroups"])
@pytest.mark.parametrize(
    ("row", "reason"), [(SEVERAL, "images of this dataset have several labels each"), ({"label": None}, "no labels in this dataset")]
)
def test_checks_of_classes_report_why_they_are_skipped(run_named, samples_of, check, row, reason):
    none = np.full(60, -1)
    tables = {
        "samples": samples_of([row] * 60),
        "thumbnails": np.zeros((60, 32, 32, 3), np.uint8),
        "label_quality": pd.DataFrame({"given": none, "predicted": none, "probability_wrong": np.full(60, np.nan)}),
        "embeddings": np.ones((60, 4), np.float16),
        "classes": ["ant", "bee"],
        "encode_text": None,
    }
    assert run_named(check, **tables).reason == reason


def test_reason_is_the_checks_own_with_single_labels(samples_of):
    assert skipped_without_classes(samples_of([{}, {"label": None}]), "fewer than two classes").reason == "fewer than two classes"
