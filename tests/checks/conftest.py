"""Small tables for checks, written by hand instead of by a scan."""

import numpy as np
import pyarrow as pa
import pytest

from audit.tables import PAIRS


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
def pairs_of():
    return make_pairs


@pytest.fixture
def neighbors_of():
    return make_neighbors


@pytest.fixture
def run_named():
    """Run a check by name on given tables, through discovery and validation."""
    from audit.checks import Missing, discover
    from audit.pipeline.check_execution import run_check

    def run(name, options=None, **tables):
        check = discover()[name]
        tables = {"pairs": make_pairs([]), "class_words": {}, "neighbors": Missing("none"), "similarities": Missing("none"), **tables}
        return run_check(check, tables, options and check.options(**options))

    return run
