"""Test whether edited copies of images are found, distinguished from other images, and classified correctly.

    python benchmarks/transformations.py FOLDER [--copies 250] [--edits-at-once 4] [--verdicts PAIRS.csv] [--keep SCRATCH]

``FOLDER`` contains images that show different things; ``PAIRS.csv`` (sample_i, sample_j, verdict) lists the pairs that do not. A dataset contains all
images, and of some of them a copy by each of a few edits. A pair counts as found if the scan reports it as a copy, and as wrong if it is a copy of
another image. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

import pandas as pd
from edits import EDITS
from inputs import images, photos_of, table
from PIL import Image, ImageOps

import audit

COPIES = ("identical_bytes", "identical_pixels", "re_encoded", "edited_copy")


def write(photos: list[Path], copied: list[int], folder: Path, names: tuple[str, ...]) -> None:
    """Write the originals, and copies of some of them by some edits."""
    (folder / "original").mkdir(parents=True)
    for number, path in enumerate(photos):
        (folder / "original" / f"{number:05}{path.suffix.lower()}").write_bytes(path.read_bytes())
    for number in copied:
        with Image.open(photos[number]) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
        for name in names:
            edit = EDITS[name]
            target = folder / str(list(EDITS).index(name)) / f"{number:05}.{edit.kind.lower()}"
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(edit.copy(image))


def look(folder: Path, run: Path, cache: Path) -> list[tuple[str, str, str, int, int]]:
    """Scan; return each pair as its two folders, its relation, and the numbers of its originals."""
    options = audit.ScanOptions(backbone="embedded", offline=True, only=("near_duplicates",), cache=str(cache))
    found = audit.scan(folder, run, options=options)
    names = [Path(sample_id) for sample_id in found.samples["sample_id"]]
    print({name: value for name, value in found.record["stages"]["pairs"].items() if name != "key"}, found.record["timings"], file=sys.stderr)
    pairs = zip(found.pairs["i"], found.pairs["j"], found.pairs["relation"], strict=True)
    return [(names[i].parent.name, names[j].parent.name, relation, int(names[i].stem), int(names[j].stem)) for i, j, relation in pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=images(), metavar="FOLDER")
    parser.add_argument("--copies", type=int, default=250, help="images of which copies are made, drawn at random")
    parser.add_argument("--edits-at-once", type=int, default=4, help="edits in one dataset")
    parser.add_argument("--verdicts", type=table("sample_i", "sample_j", "verdict"), help="pairs of images that show the same thing")
    parser.add_argument("--keep", type=Path, help="folder to keep datasets and runs in")
    arguments = parser.parse_args()
    photos = photos_of(arguments.photos)
    copied = sorted(random.Random(0).sample(range(len(photos)), min(arguments.copies, len(photos))))
    alike = {frozenset((number, number)) for number in range(len(photos))}
    if arguments.verdicts:
        at = {str(path.relative_to(arguments.photos)): number for number, path in enumerate(photos)}
        judged = pd.read_csv(arguments.verdicts)
        judged = judged[judged["verdict"] != "different"]
        alike |= {frozenset((at.get(one, -1), at.get(other, -1))) for one, other in zip(judged["sample_i"], judged["sample_j"], strict=True)}
    print("| edit | recall | precision | type right | called another shot |\n|---|---|---|---|---|")
    totals = [0] * 5
    between_originals = 0
    with tempfile.TemporaryDirectory() as scratch:
        base = arguments.keep or Path(scratch)
        everything = list(EDITS)
        starts = range(0, len(everything), arguments.edits_at_once)
        for at_once, names in enumerate(tuple(everything[start : start + arguments.edits_at_once]) for start in starts):
            write(photos, copied, base / f"set-{at_once}", names)
            seen = look(base / f"set-{at_once}", base / f"run-{at_once}", base / "cache")
            between_originals += sum(pair[:2] == ("original", "original") and pair[2] in COPIES and frozenset(pair[3:]) not in alike for pair in seen)
            for name in names:
                number = str(list(EDITS).index(name))
                mine = [pair for pair in seen if number in pair[:2]]
                with_original = [pair for pair in mine if {*pair[:2]} == {"original", number} and pair[3] == pair[4]]
                true = [pair for pair in with_original if pair[2] in COPIES]
                wrong = sum(pair[2] in COPIES and frozenset(pair[3:]) not in alike for pair in mine)
                right = sum(pair[2] == EDITS[name].relation for pair in true)
                counted = [len(true), len(copied), wrong, right, len(with_original) - len(true)]
                totals = [total + one for total, one in zip(totals, counted, strict=True)]
                print(row(name, *counted), flush=True)
    print(row("**all**", *totals))
    print(f"\nWrong pairs of two originals, in {len(starts)} datasets together: {between_originals}")


def row(name: str, true: int, possible: int, wrong: int, right: int, other: int) -> str:
    """Return a line of the table."""
    return f"| {name} | {true / possible:.3f} | {true / max(true + wrong, 1):.3f} | {right / max(true, 1):.3f} | {other / possible:.3f} |"


if __name__ == "__main__":
    main()
