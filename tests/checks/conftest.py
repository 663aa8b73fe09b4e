"""Small tables made by hand: what a check reads, without a scan."""

import numpy as np
import pyarrow as pa
import pytest

from audit.tables import PAIRS, SAMPLES


def make_samples(rows):
    """Return a samples frame; each row is a dictionary of what differs from a plain photo."""
    plain = {
        "source_ref": "",
        "fingerprint": "",
        "split": "train",
        "label": "cat",
        "outcome": "ok",
        "byte_size": 1000,
        "format": "JPEG",
        "mode": "RGB",
        "width": 500,
        "height": 400,
        "frames": 1,
        "orientation": 1,
        "has_alpha": False,
        "exif_families": [],
        "brightness": 0.5,
        "luma_p01": 0.05,
        "luma_p99": 0.95,
        "contrast": 0.2,
        "sharpness": 3.2,
        "entropy": 7.3,
        "chroma": 0.5,
    }
    every = [
        {**plain, "sample_id": f"train/cat/{at}.jpg", "content_id": f"{at:064x}", "pixel_id": f"{at:032x}", **row} for at, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(every, SAMPLES).to_pandas()


def make_pairs(rows):
    """Return a pairs frame from (i, j, relation, score, group) tuples."""
    names = ("i", "j", "relation", "score", "group")
    every = [{**dict(zip(names, row, strict=True)), "cosine": 0.9, "hamming": 4, "evidence": "{}"} for row in rows]
    return pa.Table.from_pylist(every, PAIRS).to_pandas()


def make_neighbors(vectors, k=5):
    """Return neighbors and similarities of unit vectors by brute force; NaN rows have none."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, np.nan)
    n = len(vectors)
    neighbors, similarities = np.full((n, k), -1, np.int32), np.full((n, k), np.nan, np.float32)
    for row in range(n):
        order = [other for other in np.argsort(-cosine[row], kind="stable") if np.isfinite(cosine[row, other])][:k]
        neighbors[row, : len(order)], similarities[row, : len(order)] = order, cosine[row, order]
    return neighbors, similarities


@pytest.fixture
def samples_of():
    return make_samples


@pytest.fixture
def pairs_of():
    return make_pairs


@pytest.fixture
def neighbors_of():
    return make_neighbors


@pytest.fixture
def run_named():
    """Run a check by name on given tables, through discovery and validation."""
    from audit.checks import Missing, discover, run_check

    def run(name, options=None, **tables):
        check = discover()[name]
        tables = {"pairs": make_pairs([]), "class_words": {}, "neighbors": Missing("none"), "similarities": Missing("none"), **tables}
        return run_check(check, tables, options and check.options(**options))

    return run
