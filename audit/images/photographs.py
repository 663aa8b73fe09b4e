"""Photographs that come with required packages, on which a model is tried before it sees the user's images."""

from __future__ import annotations

from importlib.resources import as_file, files

from PIL import Image

_FILES = {
    "skimage.data": (
        *("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "gravel.png"),
        *("ihc.png", "moon.png", "motorcycle_left.png", "page.png", "retina.jpg"),
    ),
    "sklearn.datasets.images": ("china.jpg", "flower.jpg"),
}
"""Package -> files. scikit-image documents their origin: all are free to use."""

_SHARES = (1.0, 0.5)
"""Sides of the parts, as shares of the shorter side of a photograph."""


def parts_of_photographs() -> list[Image.Image]:
    """Return 65 square parts of 13 photographs, RGB: of each the center and four quarters."""
    return [part for package, names in _FILES.items() for name in names for part in _parts(package, name)]


def _parts(package: str, name: str) -> list[Image.Image]:
    with as_file(files(package) / name) as path, Image.open(path) as opened:
        photograph = opened.convert("RGB")
    found = []
    for number, share in enumerate(_SHARES, 1):
        side = int(share * min(photograph.size))
        for row in range(number):
            for column in range(number):
                left, top = (round((length - side) * (at + 0.5) / number) for length, at in zip(photograph.size, (column, row), strict=True))
                found.append(photograph.crop((left, top, left + side, top + side)))
    return found
