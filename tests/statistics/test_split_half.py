import numpy as np
import pandas as pd
import pytest

from audit.statistics.split_half import skipped_without_classes

SEVERAL = {"label": None, "labels": ["ant", "bee"]}


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


def test_with_single_labels_the_check_gives_its_own_reason(samples_of):
    assert skipped_without_classes(samples_of([{}, {"label": None}]), "fewer than two classes").reason == "fewer than two classes"
