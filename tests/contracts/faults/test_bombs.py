"""Small files that cost much memory or time, and files without an end: each is one finding, and the scan goes on."""

import gzip
import io
import json
import os
import struct
import tarfile
import time
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile, PngImagePlugin

import audit
from audit import ScanOptions
from audit.backbones.base import Preprocessing
from audit.images.decode import decode
from audit.ingest.chunks import Chunk, Recipe
from audit.ingest.workers import Workers, ingest
from audit.sources import SourceOptions
from audit.sources.storage.files import Storage, TooLargeError, at_most

OPTIONS = {"backbone": "embedded-small", "device": "cpu", "only": ("integrity", "listing")}
PREPROCESSING = Preprocessing(input_size=16, resize=16, resampling="bilinear", mean=(0, 0, 0), std=(1, 1, 1))


def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def photo(seed=0, size=(48, 40)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8))


def many_scans(scans, side=1024):
    """Return a progressive JPEG whose last scan is repeated: about 12 bytes per scan, each of which decodes the whole image."""
    data = encoded(Image.new("L", (side, side), 90), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * scans + b"\xff\xd9"


def png_bomb():
    """Return a PNG of 60,000 x 60,000 pixels, 3.6 GB when it is decoded, with text after the pixels."""
    side, packer = 60_000, zlib.compressobj(9)
    row = bytes(1 + side)
    pixels = b"".join(packer.compress(row) for _ in range(200)) + packer.flush()  # the header is enough: no one reads further
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "words")

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"tEXt", b"Comment\0words") + chunk(b"IEND", b"")


def gif_bomb(frames=400, side=20_000):
    one = encoded(Image.new("L", (8, 8)), "GIF", save_all=True, append_images=[Image.new("L", (8, 8), n % 250 + 1) for n in range(frames)])
    return one[:6] + struct.pack("<HH", side, side) + one[10:]


@pytest.mark.parametrize("bomb", [png_bomb, gif_bomb], ids=["png", "gif"])
def test_nothing_but_the_header_of_a_bomb_is_decoded(bomb, monkeypatch):
    """Pillow decodes a PNG to read text after its pixels, and every frame of a GIF to count them."""
    data = bomb()

    def decoded(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", decoded)
    began = time.monotonic()
    found = decode(data)
    assert found.outcome == "too_large"
    assert "more than the limit of" in found.error
    assert found.facts.width == found.facts.height >= 20_000
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "TGA", "PCX", "DDS", "SGI"])
def test_no_format_decodes_pixels_above_the_limit(kind, monkeypatch, tally):
    data = encoded(photo(), kind)

    def loaded(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", loaded)
    monkeypatch.setattr(Image.Image, "load", loaded)
    assert decode(data, max_pixels=48 * 40 - 1).outcome == "too_large"
    tally(f"{kind} above the limit of pixels", 1, "only its header is read")


def test_formats_that_start_programs_are_not_decoded(monkeypatch):
    data = encoded(photo(), "EPS")
    assert decode(data).error == "PostScript, which would be run as a program; convert the file to PNG or TIFF"
    assert decode(b"\xc5\xd0\xd3\xc6" + data).error.startswith("PostScript")


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data" / "cat"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(encoded(photo(), "PNG"))
    return folder


def scanned(data, tmp_path, **options):
    began = time.monotonic()
    run = audit.scan(data, tmp_path / "run", options=ScanOptions(**OPTIONS, **options))
    counts = run.record["counts"]
    assert counts["listed"] == counts["scanned"] + counts["failed"]
    return run, dict(zip(run.samples["sample_id"], run.samples["outcome"], strict=True)), time.monotonic() - began


def test_special_and_endless_files(data, tmp_path):
    (data / "zero.png").symlink_to("/dev/zero")
    os.mkfifo(data / "pipe.png")
    with (data / "sparse.jpg").open("wb") as file:
        file.truncate(3 << 30)
    run, outcomes, _ = scanned(data.parent, tmp_path)
    assert outcomes == {"cat/a.png": "ok", "cat/sparse.jpg": "too_large"}
    (large,) = run.findings.loc[run.findings["sample_id"] == "cat/sparse.jpg", "message"]
    assert large.startswith("Larger than the limit (3,221,225,472 bytes, more than the limit of 536,870,912)")
    (special,) = run.findings.loc[run.findings["kind"] == "special_file", "message"]
    assert special.startswith("2 devices, pipes or sockets were not read: cat/pipe.png, cat/zero.png")


def test_hidden_images_are_found(data, tmp_path):
    """A leaked image with a hidden name is not scanned, but training reads it."""
    (data / ".a.png").write_bytes(encoded(photo(), "PNG"))
    (data / "._a.png").write_bytes(b"resource fork")
    run, outcomes, _ = scanned(data.parent, tmp_path)
    assert outcomes == {"cat/a.png": "ok"}
    (hidden,) = run.findings.loc[run.findings["kind"] == "hidden_image", "message"]
    assert hidden == "1 hidden image was not listed, but many loaders read them: cat/.a.png; rename or remove them."


def test_images_in_hidden_folders_are_found(data, tmp_path):
    """A loader that makes a class of each folder takes `.ipynb_checkpoints` for one."""
    for folder in (".ipynb_checkpoints", ".cache/deep"):
        (data / folder).mkdir(parents=True)
        (data / folder / "copy.png").write_bytes(encoded(photo(1), "PNG"))
        (data / folder / "notes.txt").write_text("words")
    (data / ".link").symlink_to(data)
    run, outcomes, _ = scanned(data.parent, tmp_path)
    assert outcomes == {"cat/a.png": "ok"}
    (hidden,) = run.findings.loc[run.findings["kind"] == "hidden_image", "message"]
    assert hidden.startswith("2 hidden images were not listed, but many loaders read them: cat/.cache/deep/copy.png, cat/.ipynb_checkpoints/copy.png")


@pytest.mark.parametrize("kind", ["tar", "zip", "webdataset"])
def test_hidden_images_of_archives_are_found(kind, tmp_path):
    members = {"cat/a.png": 0, "cat/.b.png": 1, ".old/c.png": 2, "__MACOSX/cat/._a.png": 3}
    place = tmp_path / ("images.zip" if kind == "zip" else "images.tar")
    with zipfile.ZipFile(place, "w") if kind == "zip" else tarfile.open(place, "w") as file:
        for name, seed in members.items():
            content = encoded(photo(seed), "PNG")
            if kind == "zip":
                file.writestr(name, content)
            else:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                file.addfile(member, io.BytesIO(content))
    run = audit.scan(place, tmp_path / "run", options=ScanOptions(**OPTIONS, source=SourceOptions(kind=kind)))
    (hidden,) = run.findings.loc[run.findings["kind"] == "hidden_image", "evidence"]
    assert len(run.samples) + json.loads(hidden)["entries"] == 3, "every image is listed or named"


def test_special_files_in_a_table(data, tmp_path):
    os.mkfifo(data / "pipe.png")
    (data / "list.csv").write_text("path,label\na.png,cat\n/dev/zero,cat\npipe.png,cat\n")
    run, outcomes, _ = scanned(data / "list.csv", tmp_path)
    assert outcomes == {"/dev/zero": "missing", "a.png": "ok", "pipe.png": "missing"}
    assert run.findings["message"].str.contains("is a device, pipe or socket").sum() == 2


def test_large_members(tmp_path):
    """A member that is small on disk and large in memory."""
    with tarfile.open(tmp_path / "data.tar.gz", "w:gz") as archive:
        for name, content in (("cat/a.png", encoded(photo(), "PNG")), ("cat/b.png", bytes(30 << 20)), ("cat/c.png", encoded(photo(1), "PNG"))):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    assert (tmp_path / "data.tar.gz").stat().st_size < 1 << 16
    _, outcomes, _ = scanned(tmp_path / "data.tar.gz", tmp_path, max_bytes=1 << 20)
    assert outcomes == {"cat/a.png": "ok", "cat/b.png": "too_large", "cat/c.png": "ok"}


def test_size_limit_holds_for_remote_files():
    import fsspec

    fsspec.filesystem("memory").pipe("/large.bin", bytes(100))
    storage = Storage("memory://large.bin")
    assert len(storage.read(storage.root)) == 100
    with at_most(99), pytest.raises(TooLargeError, match="100 bytes, more than the limit of 99"):
        storage.read(storage.root)
    with at_most(9), pytest.raises(TooLargeError):
        storage.read_range(storage.root, 0, 10)


def test_archive_that_expands_without_end_is_not_listed(tmp_path):
    from audit.errors import SourceError

    with gzip.open(tmp_path / "data.tar.gz", "wb") as file:
        for _ in range(1200):
            file.write(bytes(1 << 20))
    began = time.monotonic()
    with pytest.raises(SourceError, match=r"data\.tar\.gz"):
        audit.scan(tmp_path / "data.tar.gz", tmp_path / "run", options=ScanOptions(**OPTIONS))
    assert time.monotonic() - began < 60


def test_slow_image_in_a_small_dataset(data, tmp_path):
    """Small datasets are measured in the scan's own process, which must not stall."""
    (data / "slow.jpg").write_bytes(many_scans(100_000))
    run, outcomes, seconds = scanned(data.parent, tmp_path, seconds_per_image=1.0)
    assert outcomes == {"cat/a.png": "ok", "cat/slow.jpg": "timed_out"}
    assert seconds < 60
    (message,) = run.findings.loc[run.findings["kind"] == "timed_out", "message"]
    assert message.startswith("Too slow to decode (not decoded within 1 s).")


class Images:
    """Image 17 takes minutes, all others are different."""

    kind = location = "memory"

    def read(self, source_ref):
        return many_scans(100_000) if source_ref == "17" else encoded(photo(int(source_ref)), "PNG")


def test_slow_image_among_many():
    recipe = Recipe(Images(), PREPROCESSING, 10**8, None, seconds=1.0)
    chunks = [Chunk(np.arange(start, start + 8), [str(row) for row in range(start, start + 8)]) for start in range(0, 48, 8)]
    workers = Workers(recipe, 2, 8)
    began = time.monotonic()
    try:
        found = [(part.rows.tolist(), [measured["outcome"] for measured in part.measures]) for part in workers.measure(chunks)]
    finally:
        workers.close()
    assert [row for rows, _ in found for row in rows] == list(range(48))
    assert [row for rows, outcomes in found for row, outcome in zip(rows, outcomes, strict=True) if outcome == "timed_out"] == [17]
    assert sum(outcome == "ok" for _, outcomes in found for outcome in outcomes) == 47
    assert time.monotonic() - began < 60


def test_ordinary_images_stay_in_the_process(monkeypatch):
    from audit.ingest import workers

    monkeypatch.setattr(workers, "_isolate", lambda *_: pytest.fail("started a process"))
    recipe = Recipe(Images(), PREPROCESSING, 10**8, None)
    (part,) = ingest([Chunk(np.arange(2), ["0", "1"])], 2, recipe, _Embedder(), workers=1, together=2)
    assert [measured["outcome"] for measured in part.measures] == ["ok", "ok"]


class _Embedder:
    def buffer(self):
        return np.zeros((4, 16, 16, 3), np.uint8)

    def embed(self, inputs):
        return np.ones((len(inputs), 4), np.float32)


@pytest.mark.parametrize("kind", ["huggingface", "manifest"])
def test_parquet_bomb_is_refused_in_little_memory(tmp_path, kind):
    """A repeated value takes almost no space in the file: 8,000 texts of 1.5 MB, and as many images."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from audit.errors import SourceError
    from audit.sources import SourceOptions, open_source

    rows, text = 8000, pa.array(["x" * 1_500_000])
    column = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), text)
    columns = {"path": pa.array([f"{number}.png" for number in range(rows)]), "label": column}
    if kind == "huggingface":
        columns["image"] = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([b"x" * 1_500_000]))
    pq.write_table(pa.table(columns), tmp_path / "data.parquet", compression="zstd", dictionary_pagesize_limit=1 << 30, store_schema=False)
    assert (tmp_path / "data.parquet").stat().st_size < 1 << 18
    allocated = pa.total_allocated_bytes()
    source = open_source(str(tmp_path / "data.parquet"), SourceOptions(kind=kind))
    with pytest.raises(SourceError, match="column label has a text of 1,500,000 bytes; the limit is 65,536"):
        next(iter(source.collect()))
    assert pa.default_memory_pool().max_memory() - allocated < 1 << 28
    if kind == "huggingface":
        assert len(source.read("data.parquet#0.7")) == 1_500_000
        assert pa.default_memory_pool().max_memory() - allocated < 1 << 28
        with at_most(1000), pytest.raises(TooLargeError):
            source.read("data.parquet#0.7")
