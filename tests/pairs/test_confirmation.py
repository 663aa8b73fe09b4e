"""Confirmation on the images: copies in any orientation, named edits, other images, and unreadable files."""

import contextlib
import io
import json
import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps
from skimage import data

import audit
from audit.images.local_features import local_features
from audit.ingest.rereading import Reader
from audit.pairs.confirmation import Confirmation, compare_images
from audit.pairs.score import score


def photo(name="chelsea"):
    return Image.fromarray(getattr(data, name)())


def compared(one, other, *, mirrored=False):
    return compare_images(*(local_features(np.asarray(image)) for image in (one, other)), mirrored=mirrored)


@pytest.mark.parametrize(
    ("change", "mirrored"),
    [
        (lambda image: image.rotate(90, expand=True), False),
        (lambda image: image.rotate(25, Image.Resampling.BICUBIC), False),
        (ImageOps.mirror, True),
        (ImageOps.flip, True),
        (lambda image: image.crop((0, 0, round(image.width * 0.58), round(image.height * 0.58))), False),
        (lambda image: image.resize((image.width // 2, image.height // 2)), False),
        (lambda image: ImageOps.expand(image, 60, "white"), False),
    ],
)
def test_copies_are_copies_in_any_orientation(change, mirrored):
    found = score(compared(photo(), change(photo()), mirrored=mirrored), np.zeros(1, np.float32))
    assert found.copy[0] > 0.99


def test_different_images_are_not_copies():
    names = ("astronaut", "chelsea", "coffee", "rocket")
    for number, one in enumerate(names):
        for other in names[number + 1 :]:
            assert score(compared(photo(one), photo(other)), np.zeros(1, np.float32)).copy[0] < 0.05


class Files:
    """A source of files in memory."""

    def __init__(self, content):
        self.content = content

    def read(self, source_ref):
        return self.content[source_ref]


def encoded(image):
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def test_reads_the_images_in_processes_and_skips_unreadable_ones():
    content = {"a": encoded(photo()), "b": encoded(photo().rotate(180)), "broken": b"not an image"}
    first, second = np.array([1, 0, 0, 0]), np.array([2, 3, 1, 2])
    with confirming(Reader(source=Files(content), max_pixels=10**8), ["a", "b", "broken", "gone"]) as confirm:
        found, readable = confirm(first, second, np.zeros(4, bool))
        assert readable.tolist() == [False, False, True, False]
        assert found.detail_correlation[2] > 0.95
        assert found.compared_at.tolist() == [0, 0, 320, 0]
        empty, none = confirm(first[:0], second[:0], np.zeros(0, bool))
        assert len(none) == len(empty.votes) == 0


def confirming(read, refs):
    return contextlib.closing(Confirmation(read, refs, 2))


class Killing:
    """Reads images; one of them ends the process, as a decoder does that crashes on it."""

    def __call__(self, source_ref):
        if source_ref == "killing":
            os.kill(os.getpid(), signal.SIGKILL)
        return np.asarray(photo())[:, :: -1 if source_ref == "mirrored" else 1]


def test_an_image_that_crashes_its_process_is_skipped():
    with confirming(Killing(), ["photo", "mirrored", "killing"]) as confirm:
        for _ in range(2):
            found, readable = confirm(np.array([0, 1, 0]), np.array([2, 2, 1]), np.ones(3, bool))
            assert readable.tolist() == [False, False, True]
            assert found.detail_correlation[2] > 0.95


def test_an_image_that_takes_too_long_is_skipped():
    content = {name: encoded(photo()) for name in "ab"}
    with confirming(Reader(source=Files(content), max_pixels=10**8, seconds=1e-5), ["a", "b"]) as confirm:
        assert not confirm(np.array([0]), np.array([1]), np.zeros(1, bool))[1].any()


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """A scan of twelve photographs and of edited copies of one of them."""
    folder = tmp_path_factory.mktemp("scanned") / "images"
    folder.mkdir()
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        image = photo(name)
        for number, box in enumerate(((0, 0, 0.5, 1), (0.5, 0, 1, 0.5), (0.5, 0.5, 1, 1))):
            part = image.crop(tuple(round(edge * side) for edge, side in zip(box, image.size * 2, strict=True)))
            part.save(folder / f"{name}-{number}.png")
    whole = photo("retina").resize((400, 400))
    whole.save(folder / "whole.png")
    for name, change in CHANGES.items():
        change(whole).save(folder / f"{name}.png")
    run = audit.scan(folder, folder.parent / "run", options=audit.ScanOptions(only=("near_duplicates",), offline=True))
    return SimpleNamespace(run=run, ids=list(run.samples["sample_id"]))


SEEN_FROM_THE_COPY = {
    "turned by 90°": "turned by 270°",
    "cropped to 46%": "contained, as 46% of the image",
    "contained, as 64% of the image": "cropped to 64%",
    "blurred": "sharper",
}

CHANGES = {
    "turned": lambda image: image.rotate(-90, expand=True),
    "mirrored": ImageOps.mirror,
    "flipped": ImageOps.flip,
    "cropped": lambda image: image.crop((20, 30, 290, 300)),
    "framed": lambda image: ImageOps.expand(image, 50, "white"),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(2.5)),
}


@pytest.mark.parametrize(
    ("name", "edits"),
    [
        ("turned", ["turned by 90°"]),
        ("mirrored", ["mirrored"]),
        ("flipped", ["flipped upside down"]),
        ("cropped", ["cropped to 46%"]),
        ("framed", ["contained, as 64% of the image"]),
        ("blurred", ["blurred"]),
    ],
)
def test_a_scan_finds_edited_copies_and_names_the_edits(scanned, name, edits):
    pairs = scanned.run.pairs
    whole, copy = scanned.ids.index("whole.png"), scanned.ids.index(f"{name}.png")
    pair = pairs[(pairs["i"] == min(whole, copy)) & (pairs["j"] == max(whole, copy))].iloc[0]
    assert pair["relation"] == "edited_copy"
    found = json.loads(pair["evidence"])["edits"]
    if copy < whole:  # the evidence is about the second image
        edits = [SEEN_FROM_THE_COPY.get(edit, edit) for edit in edits]
    assert found == edits


def test_a_scan_keeps_other_photographs_apart(scanned):
    copies = {f"{name}.png" for name in (*CHANGES, "whole")}
    for one, other in zip(scanned.run.pairs["i"], scanned.run.pairs["j"], strict=True):
        assert {scanned.ids[one], scanned.ids[other]} <= copies


def test_another_subject_before_one_camera_is_another_shot():
    """Light and noise vary, and something stands where there was none; a caption is printed over a copy."""
    draw = np.random.default_rng(0)
    ground = data.chelsea().astype(np.float32)
    first, second = (np.clip(ground * light + draw.normal(0, 4, ground.shape), 0, 255).astype(np.uint8) for light in (0.95, 1.05))
    white = second.copy()
    second[150:250, 20:140] = ground[50:150, 250:370]
    white[150:250, 20:140] = np.clip(2.5 * ground[50:150, 250:370] - 120, 0, 255)  # in the light: parts are white or black
    for shot in (second, white):
        assert score(compared(Image.fromarray(first), Image.fromarray(shot)), np.zeros(1, np.float32)).copy[0] == 0
    captioned = photo()
    ImageDraw.Draw(captioned).text((20, 120), "SAMPLE photo", fill="white", font=ImageFont.load_default(40), stroke_width=2, stroke_fill="black")
    assert score(compared(photo(), captioned), np.zeros(1, np.float32)).copy[0] > 0.95
