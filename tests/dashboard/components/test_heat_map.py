import numpy as np

from dashboard.components.heat_map import BLOCK, blocks, order_of_classes, window


def matrix(classes, seed=0):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(0.02, (classes, classes))
    np.fill_diagonal(counts, 50)
    return counts


def test_every_confused_image_is_in_one_block_and_one_window():
    counts = matrix(2 * BLOCK + 7)
    order = order_of_classes(counts)
    names = [str(place) for place in order]
    assert sorted(order) == list(range(len(counts)))
    table = blocks(counts, order, names)
    assert table["confused"].sum() == counts.sum() - np.trace(counts)
    for row in table.to_dict("records"):
        assert window(counts, order, names, row["given_block"], row["predicted_block"], BLOCK)["confused"].sum() == row["confused"]


def test_cells_are_those_of_the_matrix():
    counts = matrix(9, seed=3)
    order = np.arange(9)[::-1]
    names = [str(place) for place in order]
    for row in window(counts, order, names, 0, 0, 9).to_dict("records"):
        given, predicted = int(row["given"]), int(row["predicted"])
        assert row["confused"] == (0 if given == predicted else counts[given, predicted])
        assert row["share"] == row["confused"] / counts[given].sum()


def test_confused_classes_stand_side_by_side():
    counts = np.diag(np.full(30, 40))
    counts[3, 27] = counts[27, 3] = 20
    order = order_of_classes(counts).tolist()
    assert abs(order.index(3) - order.index(27)) == 1
