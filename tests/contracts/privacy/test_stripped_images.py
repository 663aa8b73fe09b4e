"""Copies without metadata keep pixels, orientation and ICC profile, and the dataset does not change."""

import contextlib
import csv
import io
import struct
import tarfile
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from audit.cli import invoke
from audit.exports.metadata_removal import Refused, without_metadata
from audit.exports.stripped_images import copy_names
from audit.images.decode import decode

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def frames(data):
    image = Image.open(io.BytesIO(data))
    found = []
    for number in range(getattr(image, "n_frames", 1) if image.format != "MPO" else 1):
        image.seek(number)
        found.append(np.asarray(ImageOps.exif_transpose(image).convert("RGBA")))
    return np.stack(found)


def test_removes_metadata_and_keeps_pixels(case, secret):
    if case.container == "AVIF":
        with pytest.raises(Refused, match="AVIF cannot be copied without metadata"):
            without_metadata(case.data)
        return
    clean = without_metadata(case.data)
    assert np.array_equal(frames(clean), frames(case.data))
    assert secret.encode() not in clean
    assert decode(clean).facts.exif_families == ()
    assert without_metadata(clean) == clean


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}, {"subsampling": 0}, {"icc_profile": PROFILE}])
def test_copies_coded_jpeg_pixels(making, options):
    data = making.encoded("JPEG", **options)
    clean = without_metadata(making.in_jpeg(0xFE, b"a comment", data))
    assert clean == data


def test_keeps_color_transform_of_cmyk(making):
    stream = io.BytesIO()
    making.pixels().convert("CMYK").save(stream, "JPEG")
    clean = without_metadata(making.in_jpeg(0xFE, b"a comment", stream.getvalue()))
    assert b"Adobe" in clean
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(clean))), np.asarray(Image.open(io.BytesIO(stream.getvalue()))))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("container", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_keeps_orientation(making, container, orientation, secret):
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = orientation, secret
    data = making.encoded(container, exif=exif)
    clean = without_metadata(data)
    assert secret.encode() in data
    assert secret.encode() not in clean
    assert np.array_equal(frames(clean), frames(data))
    assert np.array_equal(np.asarray(decode(clean).image), np.asarray(decode(data).image))


def test_keeps_png_orientation_after_the_pixels(making):
    data = making.in_png(b"eXIf", making.exif_block("owner", orientation=5), behind=True)
    clean = without_metadata(data)
    assert np.array_equal(np.asarray(decode(clean).image), np.asarray(decode(data).image))
    assert np.array_equal(frames(clean), frames(data))


@pytest.mark.parametrize("container", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_keeps_color_profile(making, container, secret):
    exif = Image.Exif()
    exif[0x013B] = secret
    clean = without_metadata(making.encoded(container, exif=exif, icc_profile=PROFILE))
    assert Image.open(io.BytesIO(clean)).info["icc_profile"] == PROFILE


@pytest.mark.parametrize("container", ["GIF", "PNG", "WEBP"])
def test_keeps_animation_frames(making, container, secret):
    rest = [Image.fromarray(255 - np.asarray(making.pixels())), making.pixels().rotate(180)]
    more = {"GIF": {"comment": secret}, "PNG": {}, "WEBP": {"xmp": making.xmp_packet("owner")}}[container]
    data = making.encoded(container, save_all=True, append_images=rest, duration=70, loop=2, **more)
    clean = without_metadata(data)
    assert len(frames(clean)) == 3
    assert np.array_equal(frames(clean), frames(data))
    assert Image.open(io.BytesIO(clean)).info["loop"] == Image.open(io.BytesIO(data)).info["loop"]
    assert secret.encode() not in clean


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_keeps_tiff_mode(making, mode, secret):
    gray = making.pixels().convert("L")
    image = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257) if mode == "I;16" else making.pixels().convert(mode)
    stream = io.BytesIO()
    image.save(stream, "TIFF", tiffinfo={315: secret})
    clean = Image.open(io.BytesIO(without_metadata(stream.getvalue())))
    assert clean.mode == mode
    assert np.array_equal(np.asarray(clean), np.asarray(image))
    assert 315 not in clean.tag_v2


def test_removes_data_hidden_outside_the_image(making, secret):
    hidden = secret.encode()
    thumbnail = b"JFIF\0\x01\x01\0\0\x01\0\x01\x04\x01" + hidden
    jpeg = making.encoded("JPEG")
    assert jpeg[2:4] == b"\xff\xe0"
    with_thumbnail = jpeg[:2] + b"\xff\xe0" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + jpeg[20:]
    for data in (jpeg + hidden, with_thumbnail, making.encoded("PNG") + hidden, making.in_png(b"prVt", hidden), making.encoded("WEBP") + hidden):
        clean = without_metadata(data)
        assert hidden not in clean
        assert np.array_equal(frames(clean), frames(data))


def png_chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_parts(data):
    """Return the signature, then each chunk."""
    parts, at = [data[:8]], 8
    while at < len(data):
        end = at + 12 + struct.unpack(">I", data[at : at + 4])[0]
        parts.append(data[at:end])
        at = end
    return parts


def webp_file(*chunks):
    body = b"WEBP" + b"".join(kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2) for kind, content in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def hiding_places(making, hidden):
    """Yield description, a file with data hidden in a kind of block that is kept, and whether it must be refused."""
    jpeg, png, webp, gif = (making.encoded(container) for container in ("JPEG", "PNG", "WEBP", "GIF"))
    end = jpeg[-2:]
    segment = struct.pack(">H", len(hidden) + 2) + hidden
    yield "a JPEG's number of lines", jpeg[:-2] + b"\xff\xdc" + segment + end, False
    yield "a table after a JPEG's scan", jpeg[:-2] + b"\xff\xdb\0\x43\x03" + hidden.ljust(64, b"\1") + end, False
    head, header, pixels, last = png_parts(png)
    text, more, cut = png_chunk(b"tEXt", b"a\0b"), png_chunk(b"IDAT", hidden), zlib.decompress(pixels[8:-4])
    yield "a second run of a PNG's pixels", head + header + pixels + text + more + last, False
    yield "after the end of a PNG's coded pixels", head + header + png_chunk(b"IDAT", zlib.compress(cut) + hidden) + last, False
    yield "a chunk after the end of a PNG's coded pixels", head + header + pixels + more + last, False
    yield "a frame of a PNG that is not animated", head + header + pixels + png_chunk(b"fdAT", b"\0\0\0\0" + hidden) + last, False
    yield "the end of a PNG", head + header + pixels + png_chunk(b"IEND", hidden), False
    yield "a suggested palette of a PNG", head + header + png_chunk(b"PLTE", hidden) + pixels + last, False
    yield "the gamma of a PNG", head + header + png_chunk(b"gAMA", hidden) + pixels + last, True
    frame = struct.pack(">5I2H2B", 0, 32, 24, 0, 0, 1, 1, 0, 0)
    second = png_chunk(b"fcTL", struct.pack(">I", 1) + frame[4:]) + png_chunk(b"fdAT", struct.pack(">I", 2) + hidden)
    one = png_chunk(b"acTL", struct.pack(">2I", 1, 0)) + png_chunk(b"fcTL", frame)
    yield "a frame that an animated PNG does not play", head + header + one + pixels + second + last, False
    kind, coded = webp[12:16], webp[20:]
    yield "an alpha channel beside a WebP's image", webp_file((kind, coded), (b"ALPH", hidden)), False
    yield "a second image of a WebP", webp_file((kind, coded), (kind, coded[:9] + hidden)), False
    part = bytes([len(hidden)]) + hidden
    loop, buffer = b"\x03\x01\x02\0", b"\x05\x02\0\0\0\0"
    for name in (b"NETSCAPE2.0", b"ANIMEXTS1.0"):
        yield f"{name.decode()} of a GIF", making.in_gif(0xFF, b"\x0b" + name + loop + buffer + part + b"\0"), False
    yield "the control of a GIF's frame", making.in_gif(0xF9, b"\x04\0\x07\0\0" + part + b"\0"), False
    yield "a GIF control without a frame", gif[:-1] + b"\x21\xf9" + part + b"\0\x3b", True
    yield "two controls of a GIF's frame", making.in_gif(0xF9, b"\x04\0" + hidden[:3] + b"\0", making.in_gif(0xF9, b"\x04\0\0\0\0\0")), True


def test_removes_data_hidden_in_kept_blocks_or_refuses_the_file(making, secret):
    for name, data, refused in hiding_places(making, secret.encode()):
        assert decode(data).outcome == "ok", name
        if refused:
            with pytest.raises(Refused):
                without_metadata(data)
            continue
        clean = without_metadata(data)
        assert secret.encode() not in clean, name
        assert np.array_equal(np.asarray(decode(clean).image), np.asarray(decode(data).image)), name
        assert Image.open(io.BytesIO(clean)).info.get("loop") == Image.open(io.BytesIO(data)).info.get("loop") or "ANIMEXTS" in name
        assert without_metadata(clean) == clean


def test_refuses_unknown_jpeg_segments(making, secret):
    with pytest.raises(Refused, match="marker F3"):
        without_metadata(making.in_jpeg(0xF3, secret.encode()))
    damaged = making.encoded("JPEG")[:-2] + b"\xff\x1a\0\x04ab\xff\xd9"  # some readers continue the scan after it
    with pytest.raises(Refused, match="marker 1A"):
        without_metadata(damaged)


def test_refuses_webp_with_pixels_after_its_end(making):
    data, refused = making.encoded("WEBP"), 0
    for at in range(900, len(data), 5):
        longer = data[:at] + b"\xff" + data[at:]  # the sizes in its header do not include the inserted byte
        if decode(longer).outcome != "ok":
            continue
        try:
            clean = without_metadata(longer)
        except Refused as reason:
            refused += "after the end" in str(reason)
        else:
            assert np.array_equal(frames(clean), frames(longer))
    assert refused


def test_refuses_animated_png_with_missing_chunks(making):
    rest = [Image.fromarray(255 - np.asarray(making.pixels())), making.pixels().rotate(180)]
    parts = png_parts(making.encoded("PNG", save_all=True, append_images=rest, duration=70))
    at = next(number for number, part in enumerate(parts) if part[4:8] == b"fdAT")
    with pytest.raises(Refused, match="consecutively"):
        without_metadata(b"".join([*parts[: at - 1], *parts[at + 1 :]]))


def test_removes_second_image_after_a_jpeg(making):
    stream = io.BytesIO()
    making.pixels().save(stream, "MPO", save_all=True, append_images=[making.pixels().rotate(180)])
    clean = without_metadata(stream.getvalue())
    assert Image.open(io.BytesIO(clean)).format == "JPEG"
    assert np.array_equal(frames(clean), frames(stream.getvalue()))


@pytest.mark.parametrize("container", ["JPEG", "PNG", "WEBP", "GIF"])
def test_cleans_or_refuses_truncated_files(making, container):
    data = making.encoded(container)
    cleaned = 0
    for end in range(0, len(data), 29):
        clean = None
        with contextlib.suppress(Refused):  # any other exception fails the test
            clean = without_metadata(data[:end])
        if clean is not None:
            assert decode(clean).outcome == decode(data[:end]).outcome
            cleaned += 1
    assert cleaned < len(data) // 29


def test_names_the_reason_for_refusing_a_file(making):
    with pytest.raises(Refused, match="several pages"):
        without_metadata(making.encoded("TIFF", save_all=True, append_images=[making.pixels()]))
    with pytest.raises(Refused, match="ICO cannot be copied without metadata"):
        without_metadata(making.encoded("ICO"))
    with pytest.raises(Refused, match="cannot be parsed"):
        without_metadata(b"no picture")


@pytest.fixture
def dataset(tmp_path, cases):
    data = tmp_path / "data"
    for number, case in enumerate([case for case in cases if case.container != "AVIF"][::6]):
        ending = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tif", "GIF": "gif"}[case.container.split()[0]]
        path = data / ("cat" if number % 2 else "dog") / f"{number}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(case.data)
    (data / "dog" / "broken.jpg").write_bytes(b"not a picture")
    return data


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_copies_dataset_without_metadata(dataset, tmp_path, kind, secret, capsys):
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in dataset.rglob("*") if path.is_file()}
    source = dataset
    if kind == "tar":
        source = tmp_path / "data.tar"
        with tarfile.open(source, "w") as tar:
            tar.add(dataset, arcname=".")
    run, out = tmp_path / "run", tmp_path / "clean"
    assert invoke(["scan", str(source), "--out", str(run), "--backbone", "embedded-small", "--device", "cpu", "--only", "privacy", "--quiet"]) == 0
    capsys.readouterr()
    assert invoke(["export", str(run), "--strip-metadata", str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"images {len(before) - 1}, failed 1, refused 0, renamed 0" in printed
    assert "clean-refused.csv" in printed
    copies = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    originals = {path.relative_to(dataset).as_posix(): data for path, (data, _) in before.items() if path.stem != "broken"}
    assert copies.keys() == originals.keys()
    for name, data in copies.items():
        assert secret.encode() not in data
        assert np.array_equal(frames(data), frames(originals[name]))
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before
    with (tmp_path / "clean-refused.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["sample_id"] == "dog/broken.jpg"
    assert row["reason"].startswith("unreadable")
    assert invoke(["export", str(run), "--strip-metadata", str(out)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_refuses_to_write_into_the_dataset_or_the_run(dataset, tmp_path, capsys):
    run = tmp_path / "run"
    assert invoke(["scan", str(dataset), "--out", str(run), "--backbone", "embedded-small", "--device", "cpu", "--only", "privacy", "--quiet"]) == 0
    for place, what in ((dataset / "clean", "the dataset"), (run / "clean", "the run")):
        assert invoke(["export", str(run), "--strip-metadata", str(place)]) == 2
        assert f"is inside {what}" in capsys.readouterr().err
        assert not place.exists()
    assert invoke(["export", str(run), "--strip-metadata", str(tmp_path / "clean"), "--what", "drop-list"]) == 2
    assert invoke(["export", str(run)]) == 2
    assert "--strip-metadata" in capsys.readouterr().err


PARTS = st.lists(st.sampled_from(["", ".", "..", "a", "b.jpg", "s3:"]), min_size=1, max_size=5).map("/".join)


@given(st.lists(PARTS, min_size=1, max_size=8, unique=True), st.sampled_from(["/data/all.csv", "/all.csv", "s3://bucket/all.csv", "data"]))
def test_copy_names_are_unique_and_stay_inside_the_folder(names, location):
    found = copy_names(names, location)
    assert len(set(found)) == len(names)
    for name in found:
        assert not name.startswith("/")
        assert ".." not in name.split("/")


def write_images(folder, making, *names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(making.encoded("PNG", icc_profile=bytes([number])))


def exported(tmp_path, table, out):
    run = tmp_path / "run"
    assert invoke(["scan", str(table), "--out", str(run), "--backbone", "embedded-small", "--device", "cpu", "--only", "privacy", "--quiet"]) == 0
    code = invoke(["export", str(run), "--strip-metadata", str(out)])
    return code, {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}


def listed_in(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_copies_manifest_images_from_any_folder(tmp_path, making):
    write_images(tmp_path / "data", making, "img/1.png", "img/2.png", "more/3.png")
    (tmp_path / "data" / "lists").mkdir()
    table = tmp_path / "data" / "lists" / "all.csv"
    table.write_text(f"path,label\n{tmp_path}/data/img/1.png,a\n../img/2.png,b\n../lists/../more/3.png,a\n")
    out = tmp_path / "clean.v1"
    assert exported(tmp_path, table, out) == (0, {"img/1.png", "img/2.png", "more/3.png"})
    assert not (tmp_path / "clean.v1-refused.csv").exists()
    names = {row["sample_id"]: row["copy"] for row in listed_in(tmp_path / "clean.v1-names.csv")}
    assert names[f"{tmp_path}/data/img/1.png"] == "img/1.png"
    assert len(names) == 3


def test_copies_a_file_with_two_names_twice(tmp_path, making):
    write_images(tmp_path / "data", making, "img/1.png")
    (tmp_path / "data" / "all.csv").write_text("path,label\nimg/1.png,a\nimg/../img/1.png,a\n")
    assert exported(tmp_path, tmp_path / "data" / "all.csv", tmp_path / "clean") == (0, {"img/1.png", "img/1-2.png"})


def test_exits_with_1_if_a_file_is_refused(tmp_path, making, capsys):
    write_images(tmp_path / "data", making, "1.png")
    making.pixels().save(tmp_path / "data" / "2.ico")
    assert exported(tmp_path, tmp_path / "data", tmp_path / "clean") == (1, {"1.png"})
    printed = capsys.readouterr().out
    assert "images 1, failed 0, refused 1, renamed 0, " in printed
    assert "kB of metadata removed" in printed
    assert "bytes_removed" not in printed
    (row,) = listed_in(tmp_path / "clean-refused.csv")
    assert (row["sample_id"], row["reason"][:3]) == ("2.ico", "ICO")


@pytest.mark.parametrize("options", [[], ["--kind", "folder"]])
def test_refuses_a_moved_dataset(tmp_path, making, capsys, options):
    data, run = tmp_path / "data", str(tmp_path / "run")
    write_images(data, making, "1.png")
    assert invoke(["scan", str(data), "--out", run, "--backbone", "embedded-small", "--device", "cpu", "--only", "privacy", "--quiet", *options]) == 0
    data.rename(tmp_path / "moved")
    assert invoke(["export", run, "--strip-metadata", str(tmp_path / "clean")]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {data}: the dataset is not where the scan found it (")
    assert printed.endswith("); move it back, or scan it at its new location\n")
    assert not (tmp_path / "clean").exists()


@pytest.mark.parametrize("kind", [".tiff", ".ppm", ".png"])
def test_keeps_bit_depth_or_refuses_the_file(kind):
    deep = np.random.default_rng(0).integers(0, 2**16, (8, 9, 3), np.uint16)
    data = cv2.imencode(kind, deep)[1].tobytes()
    if kind == ".png":
        assert np.array_equal(cv2.imdecode(np.frombuffer(without_metadata(data), np.uint8), cv2.IMREAD_UNCHANGED), deep)
    else:
        with pytest.raises(Refused, match="mode RGB;16"):
            without_metadata(data)
