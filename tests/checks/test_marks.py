import tracemalloc

import numpy as np
import pytest

from audit.checks.marks import Options, run
from audit.errors import ConfigError
from audit.statistics import gradients as mark_gradients
from audit.tables import PAIRS

NONE = PAIRS.empty_table().to_pandas()

SIDE = 32


def dataset(samples_of, seed=0, classes=6, each=60):
    """Return smooth random images with random edges."""
    random = np.random.default_rng(seed)
    rows = [{"label": f"class {at % classes}", "content_id": random.bytes(32).hex()} for at in range(classes * each)]
    coarse = random.integers(0, 256, (len(rows), 4, 4, 3)).astype(np.uint8)
    return samples_of(rows), np.stack([np.roll(one, random.integers(0, 8, 2), (0, 1)) for one in coarse.repeat(8, 1).repeat(8, 2)])


def stamp(samples, thumbnails, share, where, picture, opacity=1.0, label="class 0", seed=1):
    """Put a mark on a share of a class; return its rows."""
    random = np.random.default_rng(seed)
    marked = np.flatnonzero((samples["label"] == label).to_numpy() & (random.random(len(samples)) < share))
    for row in marked:
        under = thumbnails[row][where].astype(float)
        thumbnails[row][where] = np.clip((1 - opacity) * under + opacity * picture + random.integers(-4, 5, under.shape), 0, 255)
    return marked


def found_in(samples, thumbnails, pairs=None, **options):
    return run(samples, thumbnails, NONE if pairs is None else pairs, {"class 0": "carton"}, options=Options(**options))


TEXTURE = np.random.default_rng(9).integers(0, 256, (6, 6, 3))
CORNER = (slice(25, 31), slice(2, 8))


def test_ignores_chance(samples_of):
    for seed in range(5):
        assert found_in(*dataset(samples_of, seed)).findings == []


@pytest.mark.parametrize("sizes", [(50, 50), (80, 20), (160, 40)])
def test_ignores_chance_with_few_other_images(samples_of, sizes):
    # What is usual is then known from few images, and they agree with it more than others would.
    reported = 0  # one in twenty is expected at the most; more than half were, of two classes
    for seed in range(20):
        samples, thumbnails = dataset(samples_of, seed, classes=1, each=sum(sizes))
        samples["label"] = np.repeat(["class 0", "class 1"], sizes)
        reported += len(found_in(samples, thumbnails).findings)
    assert reported <= 3


@pytest.mark.parametrize(("share", "opacity"), [(0.6, 1.0), (0.6, 0.35), (0.35, 1.0), (0.35, 0.5), (1.0, 0.35)])
def test_finds_position_and_images_of_mark(samples_of, share, opacity):
    samples, thumbnails = dataset(samples_of)
    marked = stamp(samples, thumbnails, share, CORNER, TEXTURE, opacity)
    result = found_in(samples, thumbnails)
    (finding,) = result.findings
    assert (finding.kind, finding.label) == ("mark", "class 0")
    assert "'class 0' (carton)" in finding.message
    assert "bottom left" in finding.message
    left, top, right, bottom = finding.evidence["box"]
    assert (left < 0.2, right < 0.4, top > 0.6, bottom <= 1) == (True, True, True, True)
    named = set(np.flatnonzero(result.scores > 0))
    assert len(named & set(marked)) >= 0.9 * len(marked)
    assert len(named - set(marked)) <= 0.05 * 60 + 1


def test_finds_frame(samples_of):
    samples, thumbnails = dataset(samples_of)
    for edge in ((slice(None), slice(0, 2)), (slice(None), slice(-2, None)), (slice(0, 2),), (slice(-2, None),)):
        stamp(samples, thumbnails, 0.7, edge, 0)
    (finding,) = found_in(samples, thumbnails).findings
    assert (finding.label, "all over the image" in finding.message) == ("class 0", True)


def test_ignores_mark_on_all_classes(samples_of):
    samples, thumbnails = dataset(samples_of)
    for number in range(6):
        stamp(samples, thumbnails, 0.6, CORNER, TEXTURE, label=f"class {number}", seed=number)
    assert found_in(samples, thumbnails).findings == []


def test_finds_mark_of_two_classes(samples_of):
    samples, thumbnails = dataset(samples_of)
    for label in ("class 0", "class 3"):
        stamp(samples, thumbnails, 0.8, CORNER, TEXTURE, label=label)
    assert [finding.label for finding in found_in(samples, thumbnails).findings] == ["class 0", "class 3"]


def test_ignores_the_class_without_the_mark(samples_of):
    """Both classes differ equally from each other."""
    for seed in range(5):
        samples, thumbnails = dataset(samples_of, seed, classes=2)
        stamp(samples, thumbnails, 0.7, CORNER, TEXTURE, seed=seed)
        assert {finding.label for finding in found_in(samples, thumbnails).findings} == {"class 0"}


def test_least_share_limits_small_marks(samples_of):
    samples, thumbnails = dataset(samples_of, each=200)
    stamp(samples, thumbnails, 0.12, CORNER, TEXTURE)
    assert found_in(samples, thumbnails).findings == []
    assert [finding.label for finding in found_in(samples, thumbnails, least_share=0.08).findings] == ["class 0"]


def copied(samples_of, pairs_of, seed=0, pictures=10, each=8):
    """Return twenty classes of distinct images in several copies, each with different bytes and noise."""
    random = np.random.default_rng(seed)
    samples, thumbnails = dataset(samples_of, seed, classes=20, each=pictures)
    rows = np.repeat(np.arange(len(samples)), each)
    noise = random.integers(-3, 4, (len(rows), *thumbnails.shape[1:]))
    samples = samples.iloc[rows].reset_index(drop=True)
    samples["content_id"] = [random.bytes(32).hex() for _ in rows]
    samples["sample_id"] = [f"{at:05}.jpg" for at in range(len(rows))]
    pairs = pairs_of([(at - at % each, at, "re_encoded", 1.0, at - at % each) for at in range(len(rows)) if at % each])
    return samples, (thumbnails[rows] + noise).clip(0, 255).astype(np.uint8), pairs


def test_counts_copies_once(samples_of, pairs_of):
    reported = [len(found_in(*copied(samples_of, pairs_of, seed, pictures=20, each=4)).findings) for seed in range(3)]
    assert sum(reported) <= 1
    assert len(found_in(*copied(samples_of, pairs_of, pictures=20, each=4)[:2]).findings) > 3
    assert "20 distinct images" in found_in(*copied(samples_of, pairs_of)).reason


def test_scores_all_copies_with_the_mark(samples_of, pairs_of):
    samples, thumbnails, pairs = copied(samples_of, pairs_of, pictures=30, each=3)
    first = np.flatnonzero((samples["label"] == "class 0").to_numpy())
    thumbnails[first[:60], *CORNER] = TEXTURE
    result = found_in(samples, thumbnails, pairs)
    (finding,) = result.findings
    assert (result.scores[first[:60]] > 0).all()
    assert finding.evidence["images"] == (result.scores > 0).sum()
    assert finding.evidence["share_of_class"] < 0.8
    last = len(samples) - 1
    turned = pairs.assign(i=last - pairs["j"], j=last - pairs["i"])
    again = found_in(samples[::-1].reset_index(drop=True), thumbnails[::-1], turned)
    np.testing.assert_allclose(again.scores[::-1], result.scores, rtol=1e-6)
    assert again.findings[0].evidence["examples"] == finding.evidence["examples"]


def test_blocks_do_not_change_the_result(samples_of, monkeypatch):
    samples, thumbnails = dataset(samples_of, classes=2, each=1500)
    stamp(samples, thumbnails, 0.5, CORNER, TEXTURE)
    whole = found_in(samples, thumbnails)
    monkeypatch.setattr(mark_gradients, "_ROWS_AT_ONCE", 128)
    tracemalloc.start()
    in_blocks = found_in(samples, thumbnails)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(whole.scores, in_blocks.scores)
    assert [one.evidence for one in whole.findings] == [one.evidence for one in in_blocks.findings]
    assert len(whole.findings) == 1
    assert peak < 50e6  # 27 in blocks, most of it the references; 90 at once


def test_skips_small_classes_and_refuses_bad_options(samples_of):
    assert "20 distinct images" in found_in(*dataset(samples_of, each=5)).reason
    for options in ({"least_share": 0.0}, {"false_discoveries": 1.0}, {"fewest": 3}):
        with pytest.raises(ConfigError):
            Options(**options)


def test_ignores_edges_that_run_both_ways(samples_of):
    """Three in five run from dark to light, two from light to dark; the other class is flat."""
    for seed in range(3):
        samples, thumbnails = dataset(samples_of, seed, classes=2, each=150)
        place = (slice(10, 22), slice(10, 22))
        thumbnails[:, *place] = 128
        stripes = np.where(np.arange(12) % 4 < 2, 60, -60)[:, None, None]
        first = np.flatnonzero(samples["label"] == "class 0")
        for at, row in enumerate(first):
            thumbnails[row][place] = 128 + (stripes if at % 5 < 3 else -stripes)
        assert found_in(samples, thumbnails).findings == []
        for row in first[::2]:
            thumbnails[row][place] = 128 + stripes  # most run one way now
        assert [finding.label for finding in found_in(samples, thumbnails).findings] == ["class 0"]


def test_an_outline_that_moves_with_the_subject_is_no_mark(samples_of):
    # A bright disc before a dark background: its edges run one way and are where the subject is, which is never quite the same place.
    samples, thumbnails = dataset(samples_of)
    random = np.random.default_rng(3)
    down, right = np.mgrid[:SIDE, :SIDE]
    for row in np.flatnonzero(samples["label"] == "class 0"):
        middle, radius = random.normal(16, 1.5, 2), random.normal(6, 1)
        inside = np.hypot(down - middle[0], right - middle[1]) < radius
        thumbnails[row] = np.where(inside[:, :, None], random.integers(180, 230), thumbnails[row] // 3)
    assert found_in(samples, thumbnails).findings == []


def test_a_subject_that_fills_the_image_is_no_mark(samples_of):
    samples, thumbnails = dataset(samples_of)
    shape = np.zeros((SIDE, SIDE, 1), bool)
    shape[5:27, 5:27] = True  # always at the same place, as drawn digits that are cut to their box nearly are
    for row in np.flatnonzero(samples["label"] == "class 0"):
        thumbnails[row] = np.where(shape, 240, thumbnails[row] // 8)
    assert found_in(samples, thumbnails).findings == []
