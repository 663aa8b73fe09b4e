"""Worker processes: results come in order, and few batches are in memory."""

from audit.processes import in_processes


def double(batch):
    return [2 * value for value in batch]


def test_limits_batches_in_flight():
    taken = []

    def batches():
        for number in range(100):
            taken.append(number)
            yield (number,)

    found = in_processes(double, batches(), 2)
    assert next(found) == [0]
    assert len(taken) <= 2 * 4
    assert list(found) == [[2 * number] for number in range(1, 100)]
