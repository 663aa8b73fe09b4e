"""Test whether edited copies of full-size photos are found, distinguished from other photos, and classified correctly.

    python benchmarks/transformations.py PHOTOS [--together] [--keep FOLDER]

``PHOTOS`` is a folder of photos that show different things. Each transformation makes one copy of every photo, and originals and copies are scanned
together; ``--together`` puts the copies of all transformations into one dataset instead. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from inputs import images, photos_of
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

import audit

Edit = Callable[[Image.Image], Image.Image]


def crop(image: Image.Image) -> Image.Image:
    """Keep the middle 80% of both sides."""
    width, height = image.size
    return image.crop((round(width * 0.1), round(height * 0.1), round(width * 0.9), round(height * 0.9)))


def text(image: Image.Image) -> Image.Image:
    """Overlay an outlined line of text, an eighth of the height."""
    changed = image.copy()
    width, height = image.size
    font = ImageFont.load_default(size=max(12, height // 8))
    ImageDraw.Draw(changed).text((width * 0.05, height * 0.4), "SAMPLE photo", fill="white", font=font, stroke_width=2, stroke_fill="black")
    return changed


def contrasted(image: Image.Image, factor: float) -> Image.Image:
    """Scale brightness, then contrast."""
    return ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(factor)).enhance(factor)


EDITS: dict[str, tuple[Edit, str, str, int]] = {
    "resize to 50%": (
        lambda image: image.resize((max(image.width // 2, 1), max(image.height // 2, 1)), Image.Resampling.LANCZOS),
        "re_encoded",
        "JPEG",
        92,
    ),
    "JPEG quality 30": (lambda image: image, "re_encoded", "JPEG", 30),
    "centre crop to 80%": (crop, "edited_copy", "JPEG", 92),
    "mirror": (ImageOps.mirror, "edited_copy", "JPEG", 92),
    "brightness, contrast +30%": (lambda image: contrasted(image, 1.3), "edited_copy", "JPEG", 92),
    "brightness, contrast -30%": (lambda image: contrasted(image, 0.7), "edited_copy", "JPEG", 92),
    "grayscale": (lambda image: image.convert("L").convert("RGB"), "edited_copy", "JPEG", 92),
    "5° rotation": (lambda image: image.rotate(5, Image.Resampling.BICUBIC), "edited_copy", "JPEG", 92),
    "border": (lambda image: ImageOps.expand(image, round(0.08 * min(image.size)), "white"), "edited_copy", "JPEG", 92),
    "text overlay": (text, "edited_copy", "JPEG", 92),
    "WebP": (lambda image: image, "re_encoded", "WEBP", 75),
}
"""Name -> the edit, the expected relation, and the format and quality of the copy."""


def write(photos: list[Path], folder: Path, names: list[str]) -> None:
    """Write originals and their copies."""
    for number, path in enumerate(photos):
        (folder / "original").mkdir(parents=True, exist_ok=True)
        (folder / "original" / f"{number:05}{path.suffix.lower()}").write_bytes(path.read_bytes())
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
        for name in names:
            edit, _, kind, quality = EDITS[name]
            stream = io.BytesIO()
            edit(image).save(stream, kind, quality=quality)
            target = folder / str(list(EDITS).index(name)) / f"{number:05}.{kind.lower()}"
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(stream.getvalue())


def look(folder: Path, run: Path) -> list[tuple[str, str, str, bool]]:
    """Scan; return each pair as its two folders, its relation, and whether it shows one photo."""
    options = audit.ScanOptions(backbone="embedded", offline=True, only=("near_duplicates",))
    found = audit.scan(folder, run, options=options)
    names = [Path(sample_id) for sample_id in found.samples["sample_id"]]
    print({name: value for name, value in found.record["stages"]["pairs"].items() if name != "key"}, found.record["timings"], file=sys.stderr)
    pairs = zip(found.pairs["i"], found.pairs["j"], found.pairs["relation"], strict=True)
    return [(names[i].parent.name, names[j].parent.name, relation, names[i].stem == names[j].stem) for i, j, relation in pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=images())
    parser.add_argument("--together", action="store_true")
    parser.add_argument("--keep", type=Path, help="folder to keep datasets and runs in")
    arguments = parser.parse_args()
    photos = photos_of(arguments.photos)
    print("| transformation | recall | precision | type right |\n|---|---|---|---|")
    totals = [0, 0, 0, 0]
    with tempfile.TemporaryDirectory() as scratch:
        base = arguments.keep or Path(scratch)
        seen = {}
        if arguments.together:
            write(photos, base / "all", list(EDITS))
            seen = {"all": look(base / "all", base / "all-run")}
        for number, (name, (_, relation, _, _)) in enumerate(EDITS.items()):
            if not arguments.together:
                write(photos, base / f"set-{number}", [name])
                seen = {"all": look(base / f"set-{number}", base / f"run-{number}")}
            mine = [pair for pair in seen["all"] if {pair[0], pair[1]} == {"original", str(number)}]
            true = [pair for pair in mine if pair[3]]
            wrong = sum(not pair[3] for pair in seen["all"]) if not arguments.together else sum(not pair[3] for pair in mine)
            right = sum(pair[2] == relation for pair in true)
            counted = (len(true), len(photos), wrong, right)
            totals = [total + one for total, one in zip(totals, counted, strict=True)]
            print(row(name, *counted))
        print(row("**all**", *totals))
        if arguments.together:
            wrong = sum(not pair[3] for pair in seen["all"])
            print(f"\nPairs among all originals and copies: {len(seen['all'])}, of two different photos: {wrong}")


def row(name: str, true: int, possible: int, wrong: int, right: int) -> str:
    """Return a line of the table."""
    return f"| {name} | {true / possible:.3f} | {true / max(true + wrong, 1):.3f} | {right / max(true, 1):.3f} |"


if __name__ == "__main__":
    main()
