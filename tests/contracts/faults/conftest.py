"""Fixtures of the fault tests: damaged files, killed processes.

Every test run uses a few seeds. ``benchmarks/faults.py`` sets the full counts in the environment: ``FAULT_KILLS``, ``FAULT_MUTATIONS``,
``FAULT_SEED``, and ``FAULT_TALLY``, a file to which each test appends a summary line.
"""

import io
import json
import os
import subprocess
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from audit.cli import invoke


@dataclass(frozen=True)
class Counts:
    """Number of kills and mutations, and the seed."""

    kills: int
    mutations: int
    seed: int


@pytest.fixture(scope="session")
def counts() -> Counts:
    return Counts(*(int(os.environ.get(f"FAULT_{name}", default)) for name, default in (("KILLS", 2), ("MUTATIONS", 300), ("SEED", 0))))


@pytest.fixture
def tally(request):
    """Record what a test did, for the table that ``benchmarks/faults.py`` prints."""

    def note(what: str, times: int, outcome: str) -> None:
        if path := os.environ.get("FAULT_TALLY"):
            with Path(path).open("a") as file:
                file.write(json.dumps({"what": what, "times": times, "outcome": outcome}) + "\n")

    return note


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(seed: int, size: tuple[int, int] = (56, 44)) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture(scope="session")
def images_of_every_format() -> dict[str, list[bytes]]:
    """Intact images by format, in variants that decoders handle differently."""
    image, frames = photo(0), [photo(seed) for seed in (1, 2, 3)]
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0)})
    deep = Image.fromarray((np.arange(56 * 44).reshape(44, 56) * 20).astype(np.uint16))
    several = {"save_all": True, "append_images": frames}
    return {
        "jpeg": [
            encoded(image, "JPEG", exif=exif),
            encoded(image, "JPEG", progressive=True, quality=95),
            encoded(image.convert("CMYK"), "JPEG"),
            encoded(image.convert("L"), "JPEG", comment=b"words"),
            encoded(photo(0, (2100, 1300)), "JPEG", quality=30),
        ],
        "png": [
            encoded(image, "PNG"),
            encoded(image.quantize(16), "PNG", transparency=3),
            encoded(deep, "PNG"),
            encoded(image.convert("RGBA"), "PNG", exif=exif),
            encoded(image.convert("1"), "PNG"),
        ],
        "webp": [encoded(image, "WEBP"), encoded(image, "WEBP", lossless=True, exif=exif), encoded(image, "WEBP", **several)],
        "gif": [encoded(image, "GIF"), encoded(image, "GIF", **several), encoded(image.convert("L"), "GIF", interlace=True)],
        "tiff": [
            encoded(image, "TIFF"),
            encoded(image, "TIFF", compression="tiff_lzw", exif=exif),
            encoded(image, "TIFF", compression="jpeg"),
            encoded(deep, "TIFF", compression="tiff_adobe_deflate"),
            encoded(image, "TIFF", **several),
        ],
        "bmp": [encoded(image, "BMP"), encoded(image.quantize(16), "BMP"), encoded(image.convert("1"), "BMP")],
    }


_EXTREME = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def flip(damaged: bytearray, at: int, size: int, random: np.random.Generator) -> None:
    damaged[at] ^= 1 << int(random.integers(0, 8))


def noise(damaged: bytearray, at: int, size: int, random: np.random.Generator) -> None:
    damaged[at : at + size] = random.bytes(size)


def cut_short(damaged: bytearray, at: int, size: int, random: np.random.Generator) -> None:
    del damaged[at:]


def lose(damaged: bytearray, at: int, size: int, random: np.random.Generator) -> None:
    del damaged[at : at + size]


def repeat(damaged: bytearray, at: int, size: int, random: np.random.Generator) -> None:
    damaged[at:at] = damaged[at : at + size]


def out_of_bounds(damaged: bytearray, at: int, size: int, random: np.random.Generator) -> None:
    """Write an extreme number, which may overwrite a length or size."""
    value, width = int(random.choice(_EXTREME)), int(random.choice((1, 2, 4)))
    damaged[at : at + width] = (value & (256**width - 1)).to_bytes(width, "big" if random.random() < 0.5 else "little")


def never_written(damaged: bytearray, at: int, size: int, random: np.random.Generator) -> None:
    damaged[at : at + size] = bytes(size)


def swap(damaged: bytearray, at: int, size: int, random: np.random.Generator) -> None:
    other = int(random.integers(0, len(damaged)))
    first, second = bytes(damaged[at : at + size]), bytes(damaged[other : other + size])
    damaged[at : at + len(second)], damaged[other : other + len(first)] = second, first


_DAMAGES = (flip, noise, cut_short, lose, repeat, out_of_bounds, never_written, swap)


def mutated(data: bytes, random: np.random.Generator) -> bytes:
    """Return the bytes with one to four kinds of damage; the header, with lengths and types, is hit more often."""
    damaged = bytearray(data)
    for _ in range(int(random.integers(1, 5))):
        length = len(damaged)
        if length:
            at = int(random.integers(0, min(length, 64) if random.random() < 0.4 else length))
            _DAMAGES[int(random.integers(0, len(_DAMAGES)))](damaged, at, int(min(random.integers(1, 40), length - at)), random)
    return with_valid_checksums(bytes(damaged)) if random.random() < 0.5 else bytes(damaged)


def restructured(content: object, random: np.random.Generator) -> object:
    """Return JSON with one value, at a random position and depth, removed or of another type."""
    whole = json.loads(json.dumps(content))
    holder, key = {"": whole}, ""
    while isinstance(holder[key], dict | list) and len(holder[key]) and (holder[key] is whole or random.random() < 0.6):
        holder = holder[key]
        key = int(random.integers(len(holder))) if isinstance(holder, list) else list(holder)[int(random.integers(len(holder)))]
    others = (None, 5, -1, "x", [], {}, [None], {"a": None})
    which = int(random.integers(len(others) + 1))
    if which == len(others):
        del holder[key]
    else:
        holder[key] = others[which]
    return whole


def with_valid_checksums(data: bytes) -> bytes:
    """Return a PNG with valid chunk checksums, so that damage gets past them; other bytes are unchanged."""
    if not data.startswith(b"\x89PNG"):
        return data
    fixed, at = bytearray(data), 8
    while at + 12 <= len(fixed):
        end = at + 8 + int.from_bytes(fixed[at : at + 4], "big")
        if end + 4 > len(fixed):
            break
        fixed[end : end + 4] = zlib.crc32(fixed[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(fixed)


@pytest.fixture(scope="session")
def mutate():
    return mutated


@pytest.fixture(scope="session")
def restructure():
    return restructured


@pytest.fixture(scope="session")
def make_photo():
    return photo


@dataclass(frozen=True)
class Answer:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def is_clean(self) -> bool:
        """Whether the command succeeded, or failed with a one-line error."""
        if self.code == 0:
            return True
        lines = [line for line in self.err.splitlines() if line.strip()]
        return (
            self.code == 2
            and bool(lines)
            and lines[-1].startswith("error: ")
            and "Traceback" not in self.err
            and "bug in imagenet-audit" not in self.err
        )


@pytest.fixture
def command(capfd):
    """Run a command in this process and return its output."""

    def run(*arguments: object) -> Answer:
        capfd.readouterr()
        code = invoke([str(argument) for argument in arguments])
        printed = capfd.readouterr()
        return Answer(code, printed.out, printed.err)

    return run


@pytest.fixture
def start():
    """Start a command in a separate process and session."""
    started = []

    def run(*arguments: object, env: dict[str, str] | None = None, **options) -> subprocess.Popen[str]:
        line = [sys.executable, "-m", "audit.cli", *(str(argument) for argument in arguments)]
        process = subprocess.Popen(
            line, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}, **options
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, 9)
        process.communicate()


@pytest.fixture
def dataset(tmp_path):
    """A small dataset with a corrupt file, an empty file, and a copy under another label."""

    def make(per_class: int = 12, folder: Path = tmp_path / "data") -> Path:
        for split, offset in (("train", 0), ("val", 5000)):
            for label in ("ant", "bee"):
                for number in range(per_class):
                    path = folder / split / label / f"{number:04}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    photo(offset + number + 1000 * (label == "bee")).save(path)
        (folder / "train/bee/stolen.png").write_bytes((folder / "train/ant/0000.png").read_bytes())
        (folder / "train/ant/broken.jpg").write_bytes(b"not an image")
        (folder / "train/ant/empty.jpg").touch()
        return folder

    return make
