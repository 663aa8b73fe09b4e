import numpy as np
import pyarrow as pa

from audit.io.artifacts import write_table
from audit.labels.confusion import class_quality, confused_pairs, confusion
from audit.tables import LABEL_QUALITY


def test_reads_run_without_predictions(small_run):
    rows = [
        {"given": given, "predicted": predicted, "alternative": 1 - given, "probability_wrong": wrong}
        for given, predicted, wrong in [(0, 0, 0.1), (0, 1, 0.9), (1, 1, 0.2), (1, -1, None), (1, 1, 0.0), (-1, 0, None)]
    ]
    write_table(small_run.path / "label_quality.parquet", pa.Table.from_pylist(rows, LABEL_QUALITY))
    small_run.record["classes"] = ["n1", "n2"]
    assert confusion(small_run).tolist() == [[1, 1], [0, 2]]
    assert confused_pairs(small_run, 1)[["label", "predicted", "confused"]].to_numpy().tolist() == [["n1", "n2", 1]]
    quality = class_quality(small_run)
    assert quality["label"].tolist() == ["n1", "n2"]
    assert quality["n"].tolist() == [2, 2]
    np.testing.assert_allclose(quality["estimated_error_rate"], [0.5, 0.1], atol=1e-6)
