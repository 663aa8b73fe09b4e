import numpy as np

from dashboard.components.heat_map import BLOCK, blocks, order_of_classes, window


def matrix(classes, seed=0):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(0.02, (classes, classes))
    np.fill_diagonal(counts, 50)
    return counts


def test_blocks_and_windows_contain_every_confused_image_once():
    counts = matrix(2 * BLOCK + 7)
    order = order_of_classes(counts)
    names = [str(code) for code in order]
    assert sorted(order) == list(range(len(counts)))
    table = blocks(counts, order, names)
    assert table["confused"].sum() == counts.sum() - np.trace(counts)
    for row in table.to_dict("records"):
        assert window(counts, order, names, row["given_block"], row["predicted_block"], BLOCK)["confused"].sum() == row["confused"]


def test_window_has_the_cells_of_the_matrix():
    counts = matrix(9, seed=3)
    order = np.arange(9)[::-1]
    names = [str(code) for code in order]
    for row in window(counts, order, names, 0, 0, 9).to_dict("records"):
        given, predicted = int(row["given"]), int(row["predicted"])
        assert row["confused"] == (0 if given == predicted else counts[given, predicted])
        assert row["share"] == row["confused"] / counts[given].sum()


def test_confused_classes_are_adjacent():
    counts = np.diag(np.full(30, 40))
    counts[3, 27] = counts[27, 3] = 20
    order = order_of_classes(counts).tolist()
    assert abs(order.index(3) - order.index(27)) == 1
