"""A small real dataset with planted defects, so that everybody can see what a scan finds and what it misses.

The photographs are those that scikit-image and scikit-learn carry in their packages. Each class is cut from one of them, in tiles
that do not overlap.
"""

from __future__ import annotations

import dataclasses
import io
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageFilter, ImageStat

from audit.errors import AuditError
from audit.io.console import safe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from audit import Run

PHOTOGRAPHS = {
    "astronaut": ("skimage.data", "astronaut.png", 128),
    "cat": ("skimage.data", "chelsea.png", 100),
    "coffee": ("skimage.data", "coffee.png", 128),
    "motorcycle": ("skimage.data", "motorcycle_left.png", 128),
    "retina": ("skimage.data", "retina.jpg", 280),
    "temple": ("sklearn.datasets.images", "china.jpg", 128),
    "tissue": ("skimage.data", "ihc.png", 128),
}
"""Class -> package, file, and the side of a tile in its pixels."""

SIDE = 128
"""Larger tiles are reduced to this side."""

TRAIN, VAL = 7, 3
"""Images per class and split; one more tile of each class is kept for what is planted."""

QUALITY = 92
GPS_IFD = 0x8825
GPS = {1: "N", 2: (48.0, 51.0, 30.0), 3: "E", 4: (2.0, 17.0, 40.0)}
"""EXIF's GPS block: latitude and longitude in degrees, minutes and seconds, of a public place."""


@dataclass(frozen=True, slots=True)
class Planted:
    """One defect that was put into the dataset."""

    sample_id: str
    defect: str
    """What was done, in words."""
    check: str
    """The check that should find it."""
    kinds: tuple[str, ...] = ()
    """The finding's kind is one of these; empty accepts any."""
    original: str | None = None
    """The image it was made from, where that one is in the dataset too: the finding may be about either."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether a planted defect was found."""

    planted: Planted
    state: str
    """``found``, ``missed``, or ``not looked for`` where its check did not run."""
    reason: str
    """The finding's message, or why there is none."""
    finding_id: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the same as JSON values."""
        return {**dataclasses.asdict(self.planted), "state": self.state, "reason": self.reason, "finding_id": self.finding_id}


def make(folder: Path) -> list[Planted]:
    """Write the dataset as ``split/class/image``; files that are already there with the same bytes are left alone.

    Args:
        folder: made where it is missing.

    Returns:
        What was planted.

    Raises:
        AuditError: the folder holds other files: a demo overwrites nothing of yours.
    """
    content, planted = _content()
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()} if folder.is_dir() else set()
    if foreign := sorted(there - content.keys()):
        raise AuditError(folder, f"holds other files, such as {foreign[0]!r}", "name another --out, or remove the folder")
    for name, data in content.items():
        path = folder / name
        if name not in there or path.read_bytes() != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return planted


def compare(run: Run, planted: Sequence[Planted]) -> list[Outcome]:
    """Look each planted defect up among a run's findings."""
    return [_compare(run, defect) for defect in planted]


def describe(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as text, one planted defect per paragraph."""
    found = sum(outcome.state == "found" for outcome in outcomes)
    lines = [f"planted in the demo: {len(outcomes)} defects, {found} found"]
    for outcome in outcomes:
        lines.append(f"  {outcome.state}: {outcome.planted.defect}, {safe(outcome.planted.sample_id)}")
        lines.append(f"    {outcome.planted.check}: {safe(outcome.reason)}")
    return "".join(f"{line}\n" for line in lines)


def _compare(run: Run, planted: Planted) -> Outcome:
    state: Mapping[str, Any] = run.record.get("checks", {}).get(planted.check, {})
    if state.get("state") != "done":
        return Outcome(planted, "not looked for", str(state.get("reason") or "this check is not installed"))
    findings = run.findings
    about = findings[(findings["check"] == planted.check) & findings["sample_id"].isin([planted.sample_id, planted.original or planted.sample_id])]
    if planted.kinds:
        about = about[about["kind"].isin(planted.kinds)]
    if about.empty:
        return Outcome(planted, "missed", "no finding about this image")
    # A finding about the planted image itself says more than one about its original.
    first = about.assign(itself=about["sample_id"] == planted.sample_id).sort_values(["itself", "score"], ascending=False).iloc[0]
    return Outcome(planted, "found", str(first["message"]), str(first["finding_id"]))


def _content() -> tuple[dict[str, bytes], list[Planted]]:
    """Return the dataset's files by name, and what is planted among them."""
    tiles = {label: _tiles(label) for label in PHOTOGRAPHS}
    content = {
        f"{'train' if number < TRAIN else 'val'}/{label}/{label}-{number:02}.jpg": _jpeg(tile)
        for label, of_class in tiles.items()
        for number, tile in enumerate(of_class[: TRAIN + VAL])
    }
    planted: list[Planted] = []

    def plant(sample_id: str, data: bytes, defect: str, check: str, *kinds: str, original: str | None = None) -> None:
        content[sample_id] = data
        planted.append(Planted(sample_id, defect, check, kinds, original))

    def spare(label: str) -> Image.Image:
        return tiles[label][TRAIN + VAL]

    original = "train/coffee/coffee-00.jpg"
    plant("train/coffee/exact-copy.jpg", content[original], "an exact copy", "exact_duplicates", original=original)
    original = "train/motorcycle/motorcycle-03.jpg"
    small = tiles["motorcycle"][3].resize((SIDE * 3 // 4, SIDE * 3 // 4), Image.Resampling.LANCZOS)
    plant("train/motorcycle/resized-copy.jpg", _jpeg(small), "a resized copy", "near_duplicates", original=original)
    original = "train/temple/temple-02.jpg"
    plant("train/cat/copy-of-a-temple.jpg", content[original], "a copy under another label", "conflicting_labels", original=original)
    original = "train/astronaut/astronaut-01.jpg"
    plant("val/astronaut/copy-from-train.jpg", content[original], "a copy across splits", "leakage", original=original)
    plant("train/cat/mislabelled.jpg", _jpeg(spare("tissue")), "a wrong label", "label_errors")
    plant(
        "train/motorcycle/blurred.jpg", _jpeg(spare("motorcycle").filter(ImageFilter.GaussianBlur(6))), "a blurred image", "image_quality", "blurred"
    )
    plant("train/coffee/dark.jpg", _jpeg(spare("coffee").point(lambda value: value // 14)), "a dark image", "image_quality", "dark")
    plant("val/cat/gray.jpg", _jpeg(spare("cat").convert("L")), "a gray image among colored ones", "image_quality", "grayscale")
    whole = _jpeg(spare("temple"))
    plant("train/temple/truncated.jpg", whole[: len(whole) * 3 // 5], "a truncated file", "integrity", "truncated")
    exif = Image.Exif()
    exif[GPS_IFD] = GPS
    plant("train/astronaut/with-gps.jpg", _jpeg(spare("astronaut"), exif), "a place in the EXIF data", "privacy")
    stream = io.BytesIO()
    spare("retina").save(stream, "PNG")
    plant("train/retina/png-in-fact.jpg", stream.getvalue(), "a wrong file extension", "integrity", "wrong_extension")
    return content, planted


def _tiles(label: str) -> list[Image.Image]:
    """Cut a photograph into tiles and return as many as needed: those with most contrast, in the photograph's order. Empty sky shows no class."""
    package, name, side = PHOTOGRAPHS[label]
    with as_file(files(package) / name) as path, Image.open(path) as opened:
        photograph = opened.convert("RGB")
    tiles = list(_grid(photograph, side))
    by_contrast = sorted(range(len(tiles)), key=lambda number: -ImageStat.Stat(tiles[number].convert("L")).stddev[0])
    # The spare tile is a middling one: what is planted should differ by its defect alone.
    kept = sorted(by_contrast[: TRAIN + VAL + 1])
    spare = by_contrast[(TRAIN + VAL) // 2]
    return [tiles[number] for number in [*(number for number in kept if number != spare), spare]]


def _grid(photograph: Image.Image, side: int) -> Iterator[Image.Image]:
    for top in range(0, photograph.height - side + 1, side):
        for left in range(0, photograph.width - side + 1, side):
            tile = photograph.crop((left, top, left + side, top + side))
            yield tile.resize((SIDE, SIDE), Image.Resampling.LANCZOS) if side > SIDE else tile


def _jpeg(image: Image.Image, exif: Image.Exif | None = None) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=QUALITY, exif=exif or Image.Exif())
    return stream.getvalue()
