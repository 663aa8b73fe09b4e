from hashlib import sha256

import numpy as np

from audit.statistics.clusters import _ROWS_AT_ONCE, described, typical_rows


def test_samples_rows_at_random_not_evenly_spaced():
    """The listing alternates between three kinds, so steps of three would sample only one of them."""
    count = 3 * _ROWS_AT_ONCE
    embeddings = np.eye(3, dtype=np.float16)[np.arange(count) % 3]
    images = np.array([sha256(str(row).encode()).hexdigest()[:32] for row in range(count)], "S32")
    rows = np.arange(count)
    texts, sentences = np.eye(3, dtype=np.float32), ["first", "second", "third"]
    assert described(embeddings, (rows[rows % 3 != 0], rows), images, texts, sentences)[2] == "first"
    embeddings[2::3] = [0.5, 0.5, 0.7]
    assert {row % 3 for row in typical_rows(embeddings, rows, images)} == {2}
    order = np.random.default_rng(0).permutation(count)
    turned = typical_rows(embeddings[order], rows, images[order])
    assert {int(row) % 3 for row in order[turned]} == {2}
