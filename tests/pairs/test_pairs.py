"""Pairs: copies are found and classified, similar images are not, and groups never chain."""

import io
import json

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage import data

from audit.images.measures import perceptual_hash, pixel_id, thumbnail
from audit.pairs.confirmation import compare_images
from audit.pairs.evidence import concatenated, nothing
from audit.pairs.pairs import Images, PairOptions, find_pairs
from audit.pairs.reuse import FILES, load
from audit.pairs.verification import verify


def photographs() -> list[np.ndarray]:
    """Different crops of different photographs."""
    cuts = []
    for whole in (data.astronaut(), data.chelsea(), data.coffee(), data.rocket()):
        height, width = whole.shape[:2]
        cuts += [whole[top : top + height // 2, left : left + width // 2] for top in (0, height // 2) for left in (0, width // 2)]
    return cuts


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


EDITS = {
    "resized": (lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), "re_encoded"),
    "recompressed": (lambda image: jpeg(image, 30), "re_encoded"),
    "mirrored": (lambda image: np.ascontiguousarray(image[:, ::-1]), "edited_copy"),
    "brighter": (lambda image: np.clip(image.astype(np.float32) * 1.3, 0, 255).astype(np.uint8), "edited_copy"),
    "gray": (lambda image: np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2), "edited_copy"),
}


def tables(images: list[np.ndarray], contents: list[str] | None = None):
    smalls = np.stack([thumbnail(image) for image in images])
    samples = pd.DataFrame(
        {
            "outcome": "ok",
            "content_id": contents or [f"{number:064x}" for number in range(len(images))],
            "pixel_id": [pixel_id(image) for image in images],
            "perceptual_hash": pd.array([perceptual_hash(small) for small in smalls], "UInt64"),
            "byte_size": 1000,
            "width": [image.shape[1] for image in images],
            "height": [image.shape[0] for image in images],
        }
    )
    others = np.array([[other for other in range(len(images)) if other != row] for row in range(len(images))], np.int32)
    return samples, smalls, others, np.full(others.shape, 0.85, np.float32)


def found(images, contents=None, **options):
    samples, smalls, neighbors, similarities = tables(images, contents)
    return find_pairs(samples, smalls, neighbors, similarities, options=PairOptions(neighbors=len(images), **options)).table


@pytest.mark.parametrize("edit", sorted(EDITS))
def test_finds_and_classifies_edits(edit):
    change, relation = EDITS[edit]
    originals = photographs()[::3]
    pairs = found([*originals, *(change(image) for image in originals)])
    count = len(originals)
    true = pairs[pairs["j"] - pairs["i"] == count]
    assert len(true) >= count - 1
    assert len(pairs) - len(true) == 0
    assert (true["relation"] == relation).mean() >= 0.8
    if edit == "mirrored":
        assert json.loads(true["evidence"].iloc[0])["mirrored"]


def test_different_images_are_not_pairs():
    assert found(photographs()).empty


def test_blank_images_do_not_match():
    random = np.random.default_rng(0)
    blank = [np.full((60, 80, 3), 200 + number, np.uint8) + random.integers(0, 3, (60, 80, 3), np.uint8) for number in range(6)]
    assert found(blank).empty


def test_identical_bytes_and_pixels_are_certain():
    image, other = photographs()[:2]
    pairs = found([image, image, image, other], ["a" * 64, "a" * 64, "b" * 64, "c" * 64])
    assert pairs[["i", "j", "relation"]].to_numpy().tolist() == [[0, 1, "identical_bytes"], [0, 2, "identical_pixels"]]
    assert (pairs["score"] == 1).all()
    assert (pairs["group"] == 0).all()


def test_empty_files_are_not_copies():
    samples, smalls, neighbors, similarities = tables(photographs()[:3], ["e" * 64, "e" * 64, "f" * 64])
    samples.loc[:1, ["outcome", "byte_size"]] = ["empty", 0]
    samples.loc[:1, "pixel_id"] = None
    assert find_pairs(samples, smalls, neighbors, similarities).table.empty


def test_group_members_match_their_representative():
    originals = photographs()[::5]
    edited = [change(image) for image in originals for change, _ in EDITS.values()]
    pairs = found([*originals, *edited])
    matched = {frozenset(pair) for pair in pairs[["i", "j"]].to_numpy().tolist()}
    members = {}
    for i, j, group in pairs[["i", "j", "group"]].to_numpy().tolist():
        for row in (i, j):
            if group >= 0:
                assert members.setdefault(row, group) == group
                assert row == group or frozenset((row, group)) in matched
    assert len(members) <= len(originals) + len(edited)


def test_row_order_does_not_matter():
    originals = photographs()[::3]
    images = [*originals, *(EDITS["mirrored"][0](image) for image in originals)]
    contents = [f"{number:064x}" for number in range(len(images))]
    order = np.random.default_rng(0).permutation(len(images))
    one = found(images, contents)
    other = found([images[row] for row in order], [contents[row] for row in order])
    assert _by_content(one, contents) == _by_content(other, [contents[row] for row in order])


def _by_content(pairs, contents):
    return {
        (*sorted((contents[row.i], contents[row.j])), row.relation, round(row.score, 5), contents[row.group] if row.group >= 0 else None)
        for row in pairs.itertuples()
    }


def test_measured_pairs_are_reused(monkeypatch, tmp_path):
    from audit.pairs import pairs as module

    originals = photographs()[::3]
    samples, smalls, neighbors, similarities = tables([*originals, *(EDITS["gray"][0](image) for image in originals)])
    first = find_pairs(samples, smalls, neighbors, similarities)

    def fail():
        raise AssertionError("looked again")

    assert len(first.known.alike)
    assert len(first.known.unlike)
    first.known.save(tmp_path)
    monkeypatch.setattr(module, "promising", lambda _, one, other: fail() if len(one) else (np.zeros(0, bool), np.zeros((0, 2), np.intp)))
    monkeypatch.setattr(module, "verify", lambda thumbnails, one, other, starts: fail() if len(one) else verify(thumbnails, one, other, starts))
    again = find_pairs(samples, smalls, neighbors, similarities, known=load(tmp_path))
    pd.testing.assert_frame_equal(first.table, again.table)


@pytest.mark.parametrize("name", FILES)
def test_corrupt_measurements_are_ignored(tmp_path, name):
    samples, smalls, neighbors, similarities = tables(photographs()[:2])
    find_pairs(samples, smalls, neighbors, similarities).known.save(tmp_path)
    (tmp_path / name).write_bytes(b"damaged")
    assert not len(load(tmp_path).unlike)


def test_higher_precision_keeps_fewer_pairs():
    originals = photographs()
    images = [*originals, *(EDITS["gray"][0](image) for image in originals)]
    kept = [len(found(images, min_precision=precision)) for precision in (0.9, 0.95, 0.999)]
    assert kept == sorted(kept, reverse=True)


def with_features(images):
    """Tables, and images that are compared in this process."""
    from audit.images.local_features import features, local_features

    def confirm(first, second, mirrored):
        parts = [
            compare_images(local_features(images[one]), local_features(images[other]), mirrored=bool(turned))
            for one, other, turned in zip(first, second, mirrored, strict=True)
        ]
        return concatenated(parts), np.ones(len(parts), bool)

    return tables(images), Images(np.stack([features(image) for image in images]), confirm)


def test_images_are_compared_where_their_features_agree():
    originals = photographs()[::3]
    (samples, smalls, neighbors, similarities), compare = with_features([*originals, *(np.ascontiguousarray(np.rot90(one)) for one in originals)])
    found = find_pairs(samples, smalls, neighbors, similarities, compare)
    assert (found.table["j"] - found.table["i"]).tolist() == [len(originals)] * len(originals)
    assert found.table["relation"].tolist() == ["edited_copy"] * len(originals)
    assert all(json.loads(evidence)["edits"] == ["turned by 270°"] for evidence in found.table["evidence"])
    assert not found.limited
    assert found.unreadable == 0


def test_compared_pairs_are_reused():
    originals = photographs()[::3]
    (samples, smalls, neighbors, similarities), compare = with_features([*originals, *(np.ascontiguousarray(np.rot90(one)) for one in originals)])
    first = find_pairs(samples, smalls, neighbors, similarities, compare)

    def fail(*_):
        raise AssertionError("compared again")

    again = find_pairs(samples, smalls, neighbors, similarities, Images(compare.features, fail), known=first.known)
    pd.testing.assert_frame_equal(again.table, first.table)


def test_the_likeliest_pairs_are_compared_within_the_limit():
    originals = photographs()[::3]
    (samples, smalls, neighbors, similarities), compare = with_features([*originals, *(np.ascontiguousarray(np.rot90(one)) for one in originals)])
    options = PairOptions(most_compared=0, at_once=2)
    found = find_pairs(samples, smalls, neighbors, similarities, compare, options=options)
    assert found.compared == 2
    assert found.limited
    assert found.left_out > 0
    assert len(found.table) == 2


def test_unreadable_images_are_counted_and_compared_next_time():
    originals = photographs()[::3]
    (samples, smalls, neighbors, similarities), compare = with_features([*originals, *(np.ascontiguousarray(np.rot90(one)) for one in originals)])
    gone = find_pairs(
        samples, smalls, neighbors, similarities, Images(compare.features, lambda one, _, __: (nothing(len(one)), np.zeros(len(one), bool)))
    )
    assert gone.table.empty
    assert gone.unreadable > 0
    assert len(find_pairs(samples, smalls, neighbors, similarities, compare, known=gone.known).table) == len(originals)
