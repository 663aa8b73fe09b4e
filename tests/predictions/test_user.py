import tracemalloc

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit.errors import AuditError
from audit.predictions.user import load_predictions, row_count

IDS = ["a.jpg", "b.jpg", "c.jpg"]
CLASSES = ["cat", "dog"]
GOOD = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]], np.float32)


@pytest.fixture
def save(tmp_path):
    def write(content, name):
        path = tmp_path / name
        if path.suffix == ".npy":
            np.save(path, content)
        elif path.suffix == ".parquet":
            content.to_parquet(path)
        else:
            content.to_csv(path, index=False)
        return path

    return write


def table(order=(0, 1, 2), columns=("dog", "cat")):
    frame = pd.DataFrame({"sample_id": IDS, "cat": GOOD[:, 0], "dog": GOOD[:, 1]})
    return frame.iloc[list(order)][["sample_id", *columns]]


def test_array_in_row_order(save):
    np.testing.assert_allclose(load_predictions(save(GOOD, "p.npy"), IDS, CLASSES).probabilities, GOOD)


@pytest.mark.parametrize("name", ["p.csv", "p.parquet"])
def test_table_by_sample_id_in_any_order(save, name):
    np.testing.assert_allclose(load_predictions(save(table((2, 0, 1)), name), IDS, CLASSES).probabilities, GOOD, atol=1e-6)


def test_table_without_ids_is_in_row_order(save):
    path = save(table()[["dog", "cat"]], "p.csv")
    np.testing.assert_allclose(load_predictions(path, IDS, CLASSES).probabilities, GOOD, atol=1e-6)


def test_sample_without_a_row_has_no_prediction(save):
    found = load_predictions(save(table((0, 2)), "p.csv"), IDS, CLASSES)
    assert np.isnan(found.probabilities[1]).all()
    assert found.record["covered"] == 2
    assert "1 of 3 samples" in found.record["warnings"][0]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (GOOD[:2], "p.npy", r"shape \(2, 2\), but the dataset has 3 samples and 2 classes"),
        (GOOD * 7 - 3, "p.npy", "row 0: 3.3 is not a probability"),
        (np.array([[0.9, 0.1], [np.nan, 0.8], [0.5, 0.5]]), "p.npy", "row 1: some classes are NaN"),
        (np.array([[0.9, 0.1], [0.9, 0.9], [0.5, 0.5]]), "p.npy", "row 1: sums to 1.8, not 1"),
        (np.array(["x"]), "p.npy", "not a numeric 2-D array"),
        (table(columns=("cat",)), "p.csv", r"no column for class 'dog' \(1 of 2 classes have no column\)"),
        (table().assign(cat=[0.9, 3.0, 0.5]), "p.csv", "p.csv:3: 3 is not a probability"),
        (table((2, 0, 1)).assign(cat=[0.5, np.nan, 0.2]), "p.csv", "p.csv:3: some classes are NaN"),
        (table((0, 1, 2, 0)).drop(columns="sample_id"), "p.csv", "has 4 rows and no column 'sample_id'"),
        (table(()), "p.csv", "is empty"),
        (table((0, 1, 1)), "p.csv", "p.csv:4: sample 'b.jpg' appears twice"),
        (table().assign(sample_id="x"), "p.csv", "matches no sample of the dataset; its first id is 'x'"),
        (table((0, 1)).drop(columns="sample_id"), "p.csv", "has 2 rows and no column 'sample_id'"),
        (table().assign(cat="much"), "p.csv", "column 'cat' contains text"),
        (table(), "p.txt", "unknown file type '.txt'"),
    ],
)
def test_invalid_file_is_an_error_with_its_location(save, content, name, message):
    with pytest.raises(AuditError, match=message):
        load_predictions(save(content, name), IDS, CLASSES)


def test_refuses_missing_or_broken_file(tmp_path):
    with pytest.raises(AuditError, match="no such file"):
        load_predictions(tmp_path / "p.npy", IDS, CLASSES)
    (tmp_path / "p.npy").write_bytes(b"not an array")
    with pytest.raises(AuditError, match="not a NumPy array"):
        load_predictions(tmp_path / "p.npy", IDS, CLASSES)


def test_rows_that_almost_sum_to_1_are_rescaled_with_a_warning(save):
    found = load_predictions(save(GOOD * 0.9, "p.npy"), IDS, CLASSES)
    np.testing.assert_allclose(found.probabilities.sum(1), 1, atol=1e-6)
    assert "the rows were rescaled" in found.record["warnings"][0]


def test_warns_about_in_sample_and_permuted_predictions(save):
    labels = np.arange(200) % 2
    ids = [str(at) for at in range(200)]
    sure = np.eye(2, dtype=np.float32)[labels] * 0.998 + 0.001
    assert "probably trained on them" in load_predictions(save(sure, "p.npy"), ids, CLASSES, labels).record["warnings"][0]
    assert "order of the classes" in load_predictions(save(sure[:, ::-1], "p.npy"), ids, CLASSES, labels).record["warnings"][0]
    honest = sure.copy()
    honest[:10] = honest[:10, ::-1]
    assert not load_predictions(save(honest, "p.npy"), ids, CLASSES, labels).record["warnings"]


def test_reads_other_classes_if_one_has_no_column(save):
    found = load_predictions(save(table(), "p.csv"), IDS, ["bird", *CLASSES])
    np.testing.assert_allclose(found.probabilities, np.column_stack([np.zeros(3), GOOD]), atol=1e-6)
    assert found.record["unknown_classes"] == ["bird"]
    assert "1 of 3 classes have no column in p.csv; images with these labels are not judged: 'bird'." in found.record["warnings"]


def test_ignores_columns_of_unknown_classes(save):
    content = table().assign(cat=[0.45, 0.1, 0.001], dog=[0.05, 0.4, 0.001], fish=[0.5, 0.5, 0.998])
    found = load_predictions(save(content, "p.parquet"), IDS, CLASSES)
    np.testing.assert_allclose(found.probabilities[:2], GOOD[:2], atol=1e-6)
    assert np.isnan(found.probabilities[2]).all()
    assert any("fish" in warning for warning in found.record["warnings"])
    assert any("1 rows of p.parquet have almost no probability on the dataset's classes" in warning for warning in found.record["warnings"])


def test_ignores_rows_of_unknown_samples(save):
    stranger = pd.DataFrame({"sample_id": ["x.jpg"], "dog": [0.5], "cat": [0.5]})
    found = load_predictions(save(pd.concat([stranger, table()]), "p.csv"), IDS, CLASSES)
    np.testing.assert_allclose(found.probabilities, GOOD, atol=1e-6)
    assert found.record["warnings"] == ["1 rows of p.csv match no sample of the dataset and are ignored."]


@pytest.mark.parametrize("name", ["p.npy", "p.csv", "p.parquet"])
def test_result_does_not_depend_on_block_size(save, monkeypatch, name):
    monkeypatch.setattr("audit.io.blocks.CELLS_AT_ONCE", 6)
    monkeypatch.setattr("audit.predictions.files._LEAST_AT_ONCE", 1)
    path = save(GOOD if name == "p.npy" else table((2, 0, 1)), name)
    np.testing.assert_allclose(load_predictions(path, IDS, CLASSES).probabilities, GOOD, atol=1e-6)


def test_refuses_sample_repeated_in_another_block(save, monkeypatch):
    monkeypatch.setattr("audit.io.blocks.CELLS_AT_ONCE", 6)
    monkeypatch.setattr("audit.predictions.files._LEAST_AT_ONCE", 1)
    with pytest.raises(AuditError, match=r"p.csv:5: sample 'a.jpg' appears twice"):
        load_predictions(save(table((0, 1, 2, 0)), "p.csv"), IDS, CLASSES)


def test_rows_of_several_labels_need_not_sum_to_1(save):
    content = np.array([[0.9, 0.8], [0.1, 0.0], [0.5, 1.0]], np.float32)
    np.testing.assert_allclose(load_predictions(save(content, "p.npy"), IDS, CLASSES, several=True).probabilities, content)


def test_warns_about_swapped_columns(save):
    labels = np.arange(300) % 5
    swapped = np.eye(5, dtype=np.float32)[labels][:, [1, 2, 3, 0, 4]] * 0.9 + 0.02
    ids = [str(at) for at in range(300)]
    classes = list("abcde")
    assert "order of the classes" in load_predictions(save(swapped, "p.npy"), ids, classes, labels).record["warnings"][0]
    bad = np.full((300, 5), 0.2, np.float32)
    bad[:, 0] += 0.001
    assert not load_predictions(save(bad / bad.sum(1, keepdims=True), "p.npy"), ids, classes, labels).record["warnings"]


@pytest.mark.parametrize("name", ["p.npy", "p.parquet"])
def test_memory_does_not_grow_with_the_rows(tmp_path, name):
    """40,000 rows of 1,000 classes take 160 MB as float32, and 320 as float64; a block takes 32."""
    rows, classes = 40_000, 1_000
    names = [f"class {code}" for code in range(classes)]
    if name == "p.npy":
        np.save(tmp_path / name, np.full((rows, classes), 1 / classes, np.float16))
    else:
        column = pa.array(np.full(rows, 1 / classes, np.float32))
        pq.write_table(pa.table(dict.fromkeys(names, column)), tmp_path / name)
    into = np.empty((rows, classes), np.float32)
    tracemalloc.start()
    found = load_predictions(tmp_path / name, [str(row) for row in range(rows)], names, np.arange(rows) % classes, into=into)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.record["covered"] == rows
    np.testing.assert_allclose(into[:: rows - 1, 0], 1 / classes, rtol=1e-3)
    assert peak < 250e6


def test_class_name_may_contain_a_dot(save):
    frame = pd.DataFrame({"sample_id": IDS, "cat": GOOD[:, 0] / 2, "cat.small": GOOD[:, 0] / 2, "dog": GOOD[:, 1]})
    found = load_predictions(save(frame, "p.parquet"), IDS, ["cat", "cat.small", "dog"]).probabilities
    np.testing.assert_allclose(found, frame.drop(columns="sample_id"), atol=1e-6)


@pytest.mark.parametrize("name", ["p.csv", "p.parquet"])
def test_counts_rows_without_reading_values(save, name):
    assert row_count(save(table(), name)) == 0
    assert row_count(save(table().drop(columns="sample_id"), name)) == 3
