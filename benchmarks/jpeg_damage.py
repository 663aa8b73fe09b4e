"""How many damaged JPEGs are found, and how many whole ones are flagged: ``python benchmarks/jpeg_damage.py FOLDER ...``.

Each image is damaged once in each way, at a random place of its coded data. Damage counts as visible if more than 1% of the pixels differ by more
than 16 levels. Whole images that are flagged are listed by name, to be looked at.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from audit.images.decode import decode
from audit.images.jpeg_stream import parse_jpeg

SKIPPED_SHARE = 0.1
"""Share of the coded data at each end that stays whole: the first blocks show little, and a cut is another benchmark."""


def flip(data: bytearray, at: int, random: np.random.Generator) -> None:
    """Flip one bit."""
    data[at] ^= 1 << int(random.integers(8))


def overwrite(data: bytearray, at: int, random: np.random.Generator) -> None:
    """Overwrite eight bytes."""
    data[at : at + 8] = bytes(random.integers(0, 255, 8).astype(np.uint8))


def lose(data: bytearray, at: int, random: np.random.Generator) -> None:
    """Lose up to 512 bytes."""
    del data[at : at + int(random.integers(1, 513))]


WAYS: dict[str, Callable[[bytearray, int, np.random.Generator], None]] = {"one bit": flip, "eight bytes": overwrite, "lost bytes": lose}


def visible(whole: Image.Image, damaged: bytes) -> bool:
    """Return whether damage shows; also if the image no longer decodes."""
    try:
        found = np.asarray(Image.open(io.BytesIO(damaged)).convert("RGB"), np.int16)
    except Exception:  # noqa: BLE001  decoders raise anything on damaged bytes
        return True
    return bool((np.abs(found - np.asarray(whole.convert("RGB"), np.int16)).max(axis=2) > 16).mean() > 0.01)


def main() -> None:
    """Print a line for each folder and way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--images", type=int, default=200, help="images of each folder")
    options = parser.parse_args()
    random = np.random.default_rng(0)
    print(f"{'folder':<20} {'damage':<12} {'visible':>8} {'found':>14}   whole images that are flagged")
    for folder in options.folders:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
        chosen = [paths[at] for at in np.sort(random.permutation(len(paths))[: options.images])]
        flagged = [path.name for path in chosen if decode(path.read_bytes()).outcome != "ok"]
        for name, way in WAYS.items():
            shown = found = 0
            for path in chosen:
                data = path.read_bytes()
                stream = parse_jpeg(data)
                if stream is None or not stream.scans:
                    continue
                start, end, _, _ = max(stream.scans, key=lambda scan: scan[1] - scan[0])
                damaged, edge = bytearray(data), int(SKIPPED_SHARE * (end - start))
                way(damaged, int(random.integers(start + edge, max(end - edge, start + edge + 1))), random)
                if visible(Image.open(io.BytesIO(data)), bytes(damaged)):
                    shown, found = shown + 1, found + (decode(bytes(damaged)).outcome != "ok")
            print(
                f"{folder.name:<20} {name:<12} {shown:>8} {found:>6} {found / max(shown, 1):>7.0%}   {len(flagged)} of {len(chosen)} {flagged[:5]}",
                flush=True,
            )


if __name__ == "__main__":
    main()
