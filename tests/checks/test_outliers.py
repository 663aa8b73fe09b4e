import numpy as np
import pandas as pd
import pytest
from skimage import data

from audit.checks import Skipped
from audit.checks.outliers import kth_distance
from audit.images.measures import perceptual_hash, pixel_id, thumbnail
from audit.pairs.pairs import find_pairs


def clustered(n=40, seed=0):
    center = np.eye(16)[0]
    return center + 0.05 * np.random.default_rng(seed).normal(size=(n, 16))


def test_reports_only_the_stray(run_named, samples_of, neighbors_of):
    vectors = clustered()
    vectors[7] = np.eye(16)[5]
    neighbors, similarities = neighbors_of(vectors)
    result = run_named("outliers", samples=samples_of([{}] * 40), neighbors=neighbors, similarities=similarities)
    assert [finding.row for finding in result.findings] == [7]
    assert result.scores.argmax() == 7
    near = run_named("outliers", {"least_distance": 1.5}, samples=samples_of([{}] * 40), neighbors=neighbors, similarities=similarities)
    assert near.findings == []


def photographs(count):
    """Return different crops of photos."""
    wholes = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    random = np.random.default_rng(0)
    corners = [random.integers(0, np.array(wholes[at % 4].shape[:2]) - 100) for at in range(count)]
    return [wholes[at % 4][top : top + 100, left : left + 100] for at, (top, left) in enumerate(corners)]


@pytest.mark.parametrize("copies", [1, 2, 4, 5, 8, 19])
def test_reports_all_copies_of_the_stray(run_named, samples_of, neighbors_of, copies):
    """As in a scan, each exact copy is paired with the first one only."""
    pictures = photographs(41)
    for seed in range(3):
        kinds = np.random.default_rng(seed).permutation([*range(40), *[40] * copies])
        vectors = np.concatenate([clustered(), np.eye(16)[5:6]])[kinds]
        neighbors, similarities = neighbors_of(vectors, 20)
        smalls = np.stack([thumbnail(pictures[kind]) for kind in kinds])
        rows = [
            {"content_id": f"{kind:064x}", "pixel_id": pixel_id(pictures[kind]), "perceptual_hash": perceptual_hash(small)}
            for kind, small in zip(kinds, smalls, strict=True)
        ]
        samples = samples_of(rows)
        pairs = find_pairs(samples, smalls, neighbors, similarities).table
        assert (pairs["relation"] == "identical_bytes").sum() == copies - 1
        result = run_named("outliers", samples=samples, neighbors=neighbors, similarities=similarities, pairs=pairs)
        assert [finding.row for finding in result.findings] == np.flatnonzero(kinds == 40).tolist()
        assert len(set(result.scores[kinds == 40])) == 1


def test_excludes_shots_of_one_scene_and_their_copies(run_named, samples_of, pairs_of, neighbors_of):
    vectors = clustered()
    vectors[7:13] = np.eye(16)[5]
    neighbors, similarities = neighbors_of(vectors, 20)
    tables = {"samples": samples_of([{}] * 40), "neighbors": neighbors, "similarities": similarities}
    pairs = pairs_of(
        [(7, 8, "identical_bytes", 1, 7), (7, 9, "identical_bytes", 1, 7), (10, 11, "identical_pixels", 1, 10), (10, 12, "re_encoded", 1, 10)]
    )
    assert run_named("outliers", pairs=pairs, **tables).findings == []
    scene = pd.concat([pairs, pairs_of([(7, 10, "same_scene", 1, 7)])], ignore_index=True)
    assert [finding.row for finding in run_named("outliers", pairs=scene, **tables).findings] == [*range(7, 13)]


def test_does_not_chain_scenes(pairs_of, neighbors_of):
    """Each frame is paired with the next, which excludes only that one, not the whole film."""
    neighbors, similarities = neighbors_of(clustered(), 20)
    film = pairs_of([(at, at + 1, "same_scene", 1, at) for at in range(39)])
    distance, _ = kth_distance(neighbors, similarities, film, 3)
    assert np.isfinite(distance).all()


def test_ignores_spread_out_class(run_named, samples_of, neighbors_of):
    rng = np.random.default_rng(0)
    vectors = np.concatenate([clustered(100), rng.normal(size=(20, 16))])
    neighbors, similarities = neighbors_of(vectors)
    labels = [{"label": "tight"}] * 100 + [{"label": "wide"}] * 20
    result = run_named("outliers", samples=samples_of(labels), neighbors=neighbors, similarities=similarities)
    assert len(result.findings) <= 1


def test_kth_distance_skips_copies_and_gaps(pairs_of):
    neighbors = np.array([[1, 2, 3], [0, -1, -1], [-1, -1, -1], [0, 1, 2]], np.int32)
    similarities = np.array([[0.9, 0.8, 0.5], [0.9, np.nan, np.nan], [np.nan] * 3, [0.5, 0.4, 0.3]], np.float32)
    distance, nearest = kth_distance(neighbors, similarities, pairs_of([(0, 1, "re_encoded", 1, 0)]), 2)
    np.testing.assert_allclose(distance, [0.5, np.nan, np.nan, 0.6], rtol=1e-6)
    assert nearest.tolist() == [2, -1, -1, 0]


def test_is_skipped_for_too_few_images(run_named, samples_of, neighbors_of):
    neighbors, similarities = neighbors_of(np.eye(3))
    skipped = run_named("outliers", samples=samples_of([{}] * 3), neighbors=neighbors, similarities=similarities)
    assert isinstance(skipped, Skipped)
    assert skipped.reason.startswith("too few images: 3, and ")
