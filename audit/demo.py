"""A small real dataset with planted defects that shows what a scan finds and misses.

The photographs are part of scikit-image and scikit-learn. Each class consists of non-overlapping tiles of one photograph.
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
"""Class -> package, file, and side of a tile in pixels of the photograph."""

SIDE = 128
"""Larger tiles are downscaled to this side."""

TRAIN, VAL = 7, 3
"""Images per class and split; one more tile per class is reserved for defects."""

QUALITY = 92
GPS_IFD = 0x8825
GPS = {1: "N", 2: (48.0, 51.0, 30.0), 3: "E", 4: (2.0, 17.0, 40.0)}
"""EXIF GPS block: latitude and longitude of a public place, in degrees, minutes and seconds."""


@dataclass(frozen=True, slots=True)
class Planted:
    """A planted defect."""

    sample_id: str
    defect: str
    """The defect, in words."""
    check: str
    """The check that should find it."""
    kinds: tuple[str, ...] = ()
    """Accepted kinds of the finding; empty accepts any."""
    original: str | None = None
    """The image it was derived from, if that is in the dataset too: the finding may be about either."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether a planted defect was found."""

    planted: Planted
    state: str
    """``found``, ``missed``, or ``not looked for`` if its check did not run."""
    reason: str
    """The finding's message, with its image if that is the original; or the reason why there is none."""
    finding_id: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome as JSON values."""
        return {**dataclasses.asdict(self.planted), "state": self.state, "reason": self.reason, "finding_id": self.finding_id}


def make(folder: Path) -> list[Planted]:
    """Write the dataset as ``split/class/image`` and return its planted defects. Raises AuditError if the folder contains other files."""
    content, planted = _content()
    existing = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()} if folder.is_dir() else set()
    if foreign := sorted(existing - content.keys()):
        raise AuditError(folder, f"contains other files, such as {foreign[0]!r}", "choose another --out, or remove the folder")
    for name, data in content.items():
        path = folder / name
        if name not in existing or path.read_bytes() != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return planted


def compare(run: Run, planted: Sequence[Planted]) -> list[Outcome]:
    """Compare the planted defects with a run's findings."""
    return [_compare(run, defect) for defect in planted]


def describe(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as text, one paragraph per planted defect."""
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
    # Prefer a finding about the planted image to one about its original.
    first = about.assign(itself=about["sample_id"] == planted.sample_id).sort_values(["itself", "score"], ascending=False).iloc[0]
    subject = "" if first["itself"] else f"{first['sample_id']}: "
    return Outcome(planted, "found", f"{subject}{first['message']}", str(first["finding_id"]))


def _content() -> tuple[dict[str, bytes], list[Planted]]:
    """Return the dataset's files by name, and the planted defects."""
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
    plant("train/motorcycle/resized-copy.jpg", _jpeg(small), "a resized copy", "near_duplicates", "re_encoded", "edited_copy", original=original)
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
    plant("train/astronaut/with-gps.jpg", _jpeg(spare("astronaut"), exif), "GPS coordinates in the EXIF data", "privacy")
    stream = io.BytesIO()
    spare("retina").save(stream, "PNG")
    plant("train/retina/png-in-fact.jpg", stream.getvalue(), "a wrong file extension", "integrity", "wrong_extension")
    return content, planted


def _tiles(label: str) -> list[Image.Image]:
    """Cut a photograph into tiles and return the required number: those with the most contrast (not empty sky), in the photograph's order."""
    package, name, side = PHOTOGRAPHS[label]
    with as_file(files(package) / name) as path, Image.open(path) as opened:
        photograph = opened.convert("RGB")
    tiles = list(_grid(photograph, side))
    by_contrast = sorted(range(len(tiles)), key=lambda number: -ImageStat.Stat(tiles[number].convert("L")).stddev[0])
    # The spare tile has medium contrast: a planted image should differ only by its defect.
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
