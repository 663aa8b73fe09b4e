"""One scan of bombs in every format, slow and damaged images, special and endless files: within a bound of memory, without a stall."""

import io
import json
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

SIDE = 60_000
MEGABYTES, SECONDS = 350, 240
"""Memory above that of a scan of ordinary images, and time, that the scan may take."""

SCAN = """
import json, resource, sys
import audit

options = audit.ScanOptions(backbone="embedded-small", device="cpu", offline=True, workers=1, seconds_per_image=2, only=("integrity", "listing"))
run = audit.scan(sys.argv[1], sys.argv[2], options=options)
print(json.dumps({"megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, **run.record["counts"]}))
"""


def encoded(kind, mode="RGB", **options):
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)).convert(mode).save(out, kind, **options)
    return bytearray(out.getvalue())


def patched(kind, at, form, *values, mode="RGB", **options):
    data = encoded(kind, mode, **options)
    struct.pack_into(form, data, at(data) if callable(at) else at, *values)
    return bytes(data)


def png(side=SIDE):
    data = bytearray(encoded("PNG"))
    struct.pack_into(">II", data, 16, side, side)
    struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    return bytes(data)


def tiff():
    """Return a TIFF whose fields for width, height and rows of a strip say 60,000."""
    data = encoded("TIFF")
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for at in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, at)[0] in (256, 257, 278):
            struct.pack_into("<HII", data, at + 2, 4, 1, SIDE)
    return bytes(data)


def sof(data):
    return next(at for at in range(len(data)) if data[at] == 0xFF and data[at + 1] in (0xC0, 0xC2)) + 5


def slow(scans=60_000):
    """Return a progressive JPEG whose last scan is repeated."""
    out = io.BytesIO()
    Image.new("L", (1024, 1024), 90).save(out, "JPEG", progressive=True)
    data = out.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * scans + b"\xff\xd9"


BOMBS = {
    "a.png": png,
    "a.jpg": lambda: patched("JPEG", sof, ">HH", SIDE, SIDE),
    "progressive.jpg": lambda: patched("JPEG", sof, ">HH", SIDE, SIDE, progressive=True),
    "a.gif": lambda: patched("GIF", 6, "<HH", SIDE, SIDE),
    "a.bmp": lambda: patched("BMP", 18, "<ii", SIDE, SIDE),
    "a.tif": tiff,
    "a.webp": lambda: patched("WEBP", 21, "<I", (1 << 28) - 1, lossless=True),
    "a.ppm": lambda: b"P6 60000 60000 255\n" + bytes(5000),
    "a.pgm": lambda: b"P5 60000 60000 65535\n" + bytes(5000),
    "a.tga": lambda: patched("TGA", 12, "<HH", SIDE, SIDE),
    "a.pcx": lambda: patched("PCX", 8, "<HH", SIDE, SIDE),
    "a.dds": lambda: patched("DDS", 12, "<II", SIDE, SIDE),
    "a.sgi": lambda: patched("SGI", 6, ">HH", SIDE, SIDE),
    "a.jp2": lambda: patched("JPEG2000", lambda data: data.index(b"\xff\x51") + 6, ">II", SIDE, SIDE),
}


def scan(data, run):
    done = subprocess.run([sys.executable, "-c", SCAN, str(data), str(run)], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_all_bombs_in_one_scan(tmp_path, tally):
    for name in ("plain", "bombs"):
        (tmp_path / name / "cat").mkdir(parents=True)
        for number in range(6):
            (tmp_path / name / "cat" / f"{number}.png").write_bytes(encoded("PNG"))
    folder = tmp_path / "bombs" / "cat"
    for name, make in BOMBS.items():
        (folder / f"bomb-{name}").write_bytes(make())
    (folder / "slow.jpg").write_bytes(slow())
    (folder / "cut.jpg").write_bytes(encoded("JPEG")[:-300] + b"\xff\xd9")
    (folder / "empty.png").touch()
    (folder / "page.jpg").write_bytes(b"<!doctype html><html>gone</html>")
    with (folder / "sparse.tif").open("wb") as file:
        file.truncate(4 << 30)
    os.mkfifo(folder / "pipe.png")
    (folder / "endless.png").symlink_to("/dev/zero")
    (folder / "nowhere.png").symlink_to("/does/not/exist")
    plain, found = scan(tmp_path / "plain", tmp_path / "plain-run"), scan(tmp_path / "bombs", tmp_path / "run")
    special = 2  # the pipe and the device are one finding of listing
    assert found["listed"] == found["scanned"] + found["failed"] == len(list(folder.iterdir())) - special
    assert found["scanned"] == plain["scanned"] == 6
    outcomes = found["outcomes"]
    assert (outcomes["timed_out"], outcomes["empty"], outcomes["missing"]) == (1, 1, 1)
    assert outcomes["too_large"] >= len(BOMBS), outcomes
    assert found["megabytes"] < plain["megabytes"] + MEGABYTES
    what = f"one scan of {len(BOMBS)} bombs of all formats, a slow image, a sparse file, a pipe, a device and damaged files"
    tally(
        what,
        1,
        f"{found['listed']} listed = {found['scanned']} + {found['failed']}; {found['megabytes'] - plain['megabytes']:.0f} MB above a plain scan",
    )
