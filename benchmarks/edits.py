"""Edits that people and pipelines make to images, with the relation that a scan should report for the copy."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Change = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of an image, and how the copy is stored."""

    change: Change
    relation: str = "edited_copy"
    quality: int = 92
    kind: str = "JPEG"

    def copy(self, image: Image.Image) -> bytes:
        """Return the encoded copy of an RGB image."""
        stream = io.BytesIO()
        self.change(image).save(stream, self.kind, quality=self.quality)
        return stream.getvalue()


def scaled(width: float, height: float) -> Change:
    """Scale both sides by factors."""
    return lambda image: image.resize((max(round(image.width * width), 1), max(round(image.height * height), 1)), Image.Resampling.LANCZOS)


def crop(image: Image.Image) -> Image.Image:
    """Keep the middle 80% of both sides."""
    width, height = image.size
    return image.crop((round(width * 0.1), round(height * 0.1), round(width * 0.9), round(height * 0.9)))


def corner(share: float) -> Change:
    """Keep a share of the area, at the upper left corner."""
    return lambda image: image.crop((0, 0, round(image.width * share**0.5), round(image.height * share**0.5)))


def turned(degrees: int, *, mirrored: bool = False) -> Change:
    """Rotate counter-clockwise, after a mirror if wanted; other than right angles keep the size and leave black corners."""

    def change(image: Image.Image) -> Image.Image:
        image = ImageOps.mirror(image) if mirrored else image
        return image.rotate(degrees, Image.Resampling.BICUBIC, expand=degrees % 90 == 0)

    return change


def contrasted(factor: float) -> Change:
    """Scale brightness, then contrast."""
    return lambda image: ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(factor)).enhance(factor)


def text(image: Image.Image) -> Image.Image:
    """Overlay an outlined line of text, an eighth of the height."""
    changed = image.copy()
    width, height = image.size
    font = ImageFont.load_default(size=max(12, height // 8))
    ImageDraw.Draw(changed).text((width * 0.05, height * 0.4), "SAMPLE photo", fill="white", font=font, stroke_width=2, stroke_fill="black")
    return changed


def letterbox(image: Image.Image) -> Image.Image:
    """Add black bars above and below, or beside a tall image, to 16:9 of the other orientation."""
    width, height = image.size
    size = (width, max(height, round(width * 1.2))) if width >= height else (max(width, round(height * 1.2)), height)
    return ImageOps.pad(image, size, color="black")


def meme(image: Image.Image) -> Image.Image:
    """Add a white band with a caption above, as memes have."""
    width, height = image.size
    band = max(height // 4, 16)
    changed = Image.new("RGB", (width, height + band), "white")
    changed.paste(image, (0, band))
    font = ImageFont.load_default(size=max(10, band // 3))
    ImageDraw.Draw(changed).text((width * 0.03, band * 0.2), "WHEN THE DATASET IS CLEAN", fill="black", font=font)
    return changed


def screenshot(image: Image.Image) -> Image.Image:
    """Show the image at 70% of the width in the window of a program, with a title bar and text lines."""
    width, height = round(image.width / 0.7), round(image.height / 0.7)
    changed = Image.new("RGB", (width, height), (245, 245, 247))
    draw = ImageDraw.Draw(changed)
    draw.rectangle((0, 0, width, height // 12), fill=(60, 64, 72))
    for line in range(6):
        top = round(height * (0.2 + 0.1 * line))
        draw.rectangle((round(width * 0.78), top, round(width * 0.96), top + max(height // 60, 1)), fill=(150, 150, 160))
    changed.paste(image, (round(width * 0.04), round(height * 0.16)))
    return changed


def inset(image: Image.Image) -> Image.Image:
    """Put the image, at 40% of the sides, on a background of its own, blurred and upside down."""
    whole = ImageOps.flip(image).filter(ImageFilter.GaussianBlur(max(image.size) / 25)).resize((round(image.width * 1.5), round(image.height * 1.5)))
    small = image.resize((max(round(whole.width * 0.4), 8), max(round(whole.height * 0.4), 8)), Image.Resampling.LANCZOS)
    whole.paste(small, (whole.width // 5, whole.height // 3))
    return whole


def cast(image: Image.Image) -> Image.Image:
    """Shift the colors, as another white balance does."""
    return Image.fromarray((np.asarray(image, np.float32) * [0.7, 1, 1.25] + [15, 0, 5]).clip(0, 255).astype(np.uint8))


def blurred(image: Image.Image) -> Image.Image:
    """Blur with a radius of 1/160 of the long side: 3 pixels in a photo of 500."""
    return image.filter(ImageFilter.GaussianBlur(max(image.size) / 160))


def combined(image: Image.Image) -> Image.Image:
    """Apply two or three of the other edits, drawn by the image's content."""
    draw = random.Random(np.asarray(image.resize((8, 8))).tobytes())
    changes = (crop, ImageOps.mirror, contrasted(1.3), turned(5), turned(90), text, cast, scaled(0.6, 0.6), corner(0.6))
    for change in draw.sample(changes, draw.choice((2, 3))):
        image = change(image)
    return image


def same(image: Image.Image) -> Image.Image:
    """Change nothing but the encoding."""
    return image


EDITS: dict[str, Edit] = {
    "resize to 50%": Edit(scaled(0.5, 0.5), "re_encoded"),
    "JPEG quality 30": Edit(same, "re_encoded", 30),
    "centre crop to 80%": Edit(crop),
    "mirror": Edit(ImageOps.mirror),
    "brightness, contrast +30%": Edit(contrasted(1.3)),
    "brightness, contrast -30%": Edit(contrasted(0.7)),
    "grayscale": Edit(lambda image: image.convert("L").convert("RGB")),
    "5° rotation": Edit(turned(5)),
    "border": Edit(lambda image: ImageOps.expand(image, round(0.08 * min(image.size)), "white")),
    "text overlay": Edit(text),
    "WebP": Edit(same, "re_encoded", 75, "WEBP"),
    "turned by 90°": Edit(turned(90)),
    "turned by 180°": Edit(turned(180)),
    "turned by 270°": Edit(turned(270)),
    "upside down": Edit(ImageOps.flip),
    "25° rotation": Edit(turned(25)),
    "mirror, turned by 90°": Edit(turned(90, mirrored=True)),
    "corner crop to 50% of the area": Edit(corner(0.5)),
    "corner crop to 33% of the area": Edit(corner(1 / 3)),
    "squash by 20%": Edit(scaled(0.8, 1), "re_encoded"),
    "inset at 40%": Edit(inset),
    "letterbox": Edit(letterbox),
    "meme caption": Edit(meme),
    "screenshot frame": Edit(screenshot),
    "color cast": Edit(cast),
    "strong blur": Edit(blurred),
    "JPEG quality 15": Edit(same, "re_encoded", 15),
    "two or three combined": Edit(combined),
}
"""Name -> edit. A copy of which only compression or size changed is ``re_encoded``."""
