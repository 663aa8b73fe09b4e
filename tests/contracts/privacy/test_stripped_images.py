"""Clean copies: the same pixels, orientation and ICC profile, no metadata; the dataset stays as it is."""

import contextlib
import csv
import io
import struct
import tarfile
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps, features

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


def test_the_pixels_stay_and_the_metadata_goes(case, secret):
    clean = without_metadata(case.data)
    assert np.array_equal(frames(clean), frames(case.data))
    assert secret.encode() not in clean
    assert decode(clean).facts.exif_families == ()
    assert without_metadata(clean) == clean


def scan_of(jpeg):
    return jpeg[jpeg.index(b"\xff\xda") :]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}, {"subsampling": 0}, {"icc_profile": PROFILE}])
def test_the_coded_pixels_of_a_jpeg_are_copied(making, options):
    data = making.encoded("JPEG", **options)
    clean = without_metadata(making.in_jpeg(0xFE, b"a comment", data))
    assert clean == data


def test_cmyk_keeps_its_color_transform(making):
    stream = io.BytesIO()
    making.pixels().convert("CMYK").save(stream, "JPEG")
    clean = without_metadata(making.in_jpeg(0xFE, b"a comment", stream.getvalue()))
    assert b"Adobe" in clean
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(clean))), np.asarray(Image.open(io.BytesIO(stream.getvalue()))))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("container", ["JPEG", "PNG", "WEBP", "TIFF", *(["AVIF"] if features.check("avif") else [])])
def test_the_orientation_stays(making, container, orientation, secret):
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = orientation, secret
    data = making.encoded(container, exif=exif)
    clean = without_metadata(data)
    assert secret.encode() in data
    assert secret.encode() not in clean
    assert np.array_equal(frames(clean), frames(data))
    assert np.array_equal(np.asarray(decode(clean).image), np.asarray(decode(data).image))


def test_an_orientation_behind_the_pixels_of_a_png_stays_there(making):
    data = making.in_png(b"eXIf", making.exif_block("owner", orientation=5), behind=True)
    clean = without_metadata(data)
    assert np.array_equal(np.asarray(decode(clean).image), np.asarray(decode(data).image))
    assert np.array_equal(frames(clean), frames(data))


@pytest.mark.parametrize("container", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_color_profile_stays(making, container, secret):
    exif = Image.Exif()
    exif[0x013B] = secret
    clean = without_metadata(making.encoded(container, exif=exif, icc_profile=PROFILE))
    assert Image.open(io.BytesIO(clean)).info["icc_profile"] == PROFILE


@pytest.mark.parametrize("container", ["GIF", "PNG", "WEBP"])
def test_animations_keep_their_frames(making, container, secret):
    rest = [Image.fromarray(255 - np.asarray(making.pixels())), making.pixels().rotate(180)]
    more = {"GIF": {"comment": secret}, "PNG": {}, "WEBP": {"xmp": making.xmp_packet("owner")}}[container]
    data = making.encoded(container, save_all=True, append_images=rest, duration=70, loop=2, **more)
    clean = without_metadata(data)
    assert len(frames(clean)) == 3
    assert np.array_equal(frames(clean), frames(data))
    assert Image.open(io.BytesIO(clean)).info["loop"] == Image.open(io.BytesIO(data)).info["loop"]
    assert secret.encode() not in clean


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_tiffs_of_all_modes(making, mode, secret):
    gray = making.pixels().convert("L")
    image = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257) if mode == "I;16" else making.pixels().convert(mode)
    stream = io.BytesIO()
    image.save(stream, "TIFF", tiffinfo={315: secret})
    clean = Image.open(io.BytesIO(without_metadata(stream.getvalue())))
    assert clean.mode == mode
    assert np.array_equal(np.asarray(clean), np.asarray(image))
    assert 315 not in clean.tag_v2


def test_what_hides_behind_and_beside_the_picture_goes(making, secret):
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
    """Signature and header; then each chunk."""
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
    """Name -> a file with something hidden in a kind of block that is kept, and whether it must be refused."""
    jpeg, png, webp, gif = (making.encoded(container) for container in ("JPEG", "PNG", "WEBP", "GIF"))
    end = jpeg[-2:]
    segment = struct.pack(">H", len(hidden) + 2) + hidden
    yield "a JPEG's number of lines", jpeg[:-2] + b"\xff\xdc" + segment + end, False
    yield "a table behind a JPEG's scan", jpeg[:-2] + b"\xff\xdb\0\x43\x03" + hidden.ljust(64, b"\1") + end, False
    head, header, pixels, last = png_parts(png)
    text, more, cut = png_chunk(b"tEXt", b"a\0b"), png_chunk(b"IDAT", hidden), zlib.decompress(pixels[8:-4])
    yield "a second run of a PNG's pixels", head + header + pixels + text + more + last, False
    yield "behind the end of a PNG's coded pixels", head + header + png_chunk(b"IDAT", zlib.compress(cut) + hidden) + last, False
    yield "a chunk behind the end of a PNG's coded pixels", head + header + pixels + more + last, False
    yield "a frame of a PNG that is not animated", head + header + pixels + png_chunk(b"fdAT", b"\0\0\0\0" + hidden) + last, False
    yield "the end of a PNG", head + header + pixels + png_chunk(b"IEND", hidden), False
    yield "a palette that a PNG proposes", head + header + png_chunk(b"PLTE", hidden) + pixels + last, False
    yield "the gamma of a PNG", head + header + png_chunk(b"gAMA", hidden) + pixels + last, True
    frame = struct.pack(">5I2H2B", 0, 32, 24, 0, 0, 1, 1, 0, 0)
    second = png_chunk(b"fcTL", struct.pack(">I", 1) + frame[4:]) + png_chunk(b"fdAT", struct.pack(">I", 2) + hidden)
    one = png_chunk(b"acTL", struct.pack(">2I", 1, 0)) + png_chunk(b"fcTL", frame)
    yield "a frame that an animated PNG does not play", head + header + one + pixels + second + last, False
    kind, coded = webp[12:16], webp[20:]
    yield "an alpha channel beside a WebP's picture", webp_file((kind, coded), (b"ALPH", hidden)), False
    yield "a second picture of a WebP", webp_file((kind, coded), (kind, coded[:9] + hidden)), False
    part = bytes([len(hidden)]) + hidden
    loop, buffer = b"\x03\x01\x02\0", b"\x05\x02\0\0\0\0"
    for name in (b"NETSCAPE2.0", b"ANIMEXTS1.0"):
        yield f"{name.decode()} of a GIF", making.in_gif(0xFF, b"\x0b" + name + loop + buffer + part + b"\0"), False
    yield "the control of a GIF's frame", making.in_gif(0xF9, b"\x04\0\x07\0\0" + part + b"\0"), False
    yield "the control of no frame of a GIF", gif[:-1] + b"\x21\xf9" + part + b"\0\x3b", True
    yield "two controls of a GIF's frame", making.in_gif(0xF9, b"\x04\0" + hidden[:3] + b"\0", making.in_gif(0xF9, b"\x04\0\0\0\0\0")), True


def test_what_hides_in_blocks_that_are_kept_goes_or_the_file_is_refused(making, secret):
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


def test_segments_that_no_reader_knows_are_refused(making, secret):
    with pytest.raises(Refused, match="marker F3"):
        without_metadata(making.in_jpeg(0xF3, secret.encode()))
    damaged = making.encoded("JPEG")[:-2] + b"\xff\x1a\0\x04ab\xff\xd9"  # some readers go on with the scan behind it
    with pytest.raises(Refused, match="marker 1A"):
        without_metadata(damaged)


def test_a_webp_whose_pixels_go_on_behind_its_end_is_refused_and_all_others_keep_theirs(making):
    data, refused = making.encoded("WEBP"), 0
    for at in range(900, len(data), 5):
        longer = data[:at] + b"\xff" + data[at:]  # its sizes say nothing of the byte that came in
        if decode(longer).outcome != "ok":
            continue
        try:
            clean = without_metadata(longer)
        except Refused as reason:
            refused += "behind the end" in str(reason)
        else:
            assert np.array_equal(frames(clean), frames(longer))
    assert refused


def test_an_animated_png_keeps_frames_and_refuses_gaps(making):
    rest = [Image.fromarray(255 - np.asarray(making.pixels())), making.pixels().rotate(180)]
    parts = png_parts(making.encoded("PNG", save_all=True, append_images=rest, duration=70))
    at = next(number for number, part in enumerate(parts) if part[4:8] == b"fdAT")
    with pytest.raises(Refused, match="one after another"):
        without_metadata(b"".join([*parts[: at - 1], *parts[at + 1 :]]))


def test_a_second_picture_behind_a_jpeg_goes(making):
    stream = io.BytesIO()
    making.pixels().save(stream, "MPO", save_all=True, append_images=[making.pixels().rotate(180)])
    clean = without_metadata(stream.getvalue())
    assert Image.open(io.BytesIO(clean)).format == "JPEG"
    assert np.array_equal(frames(clean), frames(stream.getvalue()))


@pytest.mark.parametrize("container", ["JPEG", "PNG", "WEBP", "GIF"])
def test_files_cut_anywhere_are_refused_or_cleaned_never_worse(making, container):
    data = making.encoded(container)
    cleaned = 0
    for end in range(0, len(data), 29):
        clean = None
        with contextlib.suppress(Refused):  # anything else that is raised fails the test
            clean = without_metadata(data[:end])
        if clean is not None:
            assert decode(clean).outcome == decode(data[:end]).outcome
            cleaned += 1
    assert cleaned < len(data) // 29


def test_pages_and_unknown_formats_are_refused_with_the_reason(making):
    with pytest.raises(Refused, match="several pages"):
        without_metadata(making.encoded("TIFF", save_all=True, append_images=[making.pixels()]))
    with pytest.raises(Refused, match="ICO is not one that"):
        without_metadata(making.encoded("ICO"))
    with pytest.raises(Refused, match="cannot be taken apart"):
        without_metadata(b"no picture")


@pytest.fixture
def dataset(tmp_path, cases):
    data = tmp_path / "data"
    for number, case in enumerate(cases[::6]):
        ending = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tif", "GIF": "gif", "AVIF": "avif"}[case.container.split()[0]]
        path = data / ("cat" if number % 2 else "dog") / f"{number}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(case.data)
    (data / "dog" / "broken.jpg").write_bytes(b"not a picture")
    return data


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_a_dataset_is_copied_clean(dataset, tmp_path, kind, secret, capsys):
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in dataset.rglob("*") if path.is_file()}
    source = dataset
    if kind == "tar":
        source = tmp_path / "data.tar"
        with tarfile.open(source, "w") as tar:
            tar.add(dataset, arcname=".")
    run, out = tmp_path / "run", tmp_path / "clean"
    assert invoke(["scan", str(source), "--out", str(run), "--backbone", "embedded", "--device", "cpu", "--only", "privacy", "--quiet"]) == 0
    capsys.readouterr()
    assert invoke(["export", str(run), "--strip-metadata", str(out)]) == 0
    told = capsys.readouterr().out
    assert f"images {len(before) - 1}, failed 1, refused 0, renamed 0" in told
    assert "clean-refused.csv" in told
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


def test_the_dataset_and_the_run_are_no_place_for_copies(dataset, tmp_path, capsys):
    run = tmp_path / "run"
    assert invoke(["scan", str(dataset), "--out", str(run), "--backbone", "embedded", "--device", "cpu", "--only", "privacy", "--quiet"]) == 0
    for place, what in ((dataset / "clean", "the dataset"), (run / "clean", "the run")):
        assert invoke(["export", str(run), "--strip-metadata", str(place)]) == 2
        assert f"lies inside {what}" in capsys.readouterr().err
        assert not place.exists()
    assert invoke(["export", str(run), "--strip-metadata", str(tmp_path / "clean"), "--what", "drop-list"]) == 2
    assert invoke(["export", str(run)]) == 2
    assert "--strip-metadata" in capsys.readouterr().err


PARTS = st.lists(st.sampled_from(["", ".", "..", "a", "b.jpg", "s3:"]), min_size=1, max_size=5).map("/".join)


@given(st.lists(PARTS, min_size=1, max_size=8, unique=True), st.sampled_from(["/data/all.csv", "/all.csv", "s3://bucket/all.csv", "data"]))
def test_no_name_leads_out_of_the_folder_and_no_two_are_the_same(names, location):
    found = copy_names(names, location)
    assert len(set(found)) == len(names)
    for name in found:
        assert not name.startswith("/")
        assert ".." not in name.split("/")


def pictures(folder, making, *names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(making.encoded("PNG", icc_profile=bytes([number])))


def exported(tmp_path, table, out):
    run = tmp_path / "run"
    assert invoke(["scan", str(table), "--out", str(run), "--backbone", "embedded", "--device", "cpu", "--only", "privacy", "--quiet"]) == 0
    code = invoke(["export", str(run), "--strip-metadata", str(out)])
    return code, {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}


def listed_in(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_images_of_a_manifest_are_copied_wherever_they_lie(tmp_path, making):
    pictures(tmp_path / "data", making, "img/1.png", "img/2.png", "more/3.png")
    (tmp_path / "data" / "lists").mkdir()
    table = tmp_path / "data" / "lists" / "all.csv"
    table.write_text(f"path,label\n{tmp_path}/data/img/1.png,a\n../img/2.png,b\n../lists/../more/3.png,a\n")
    out = tmp_path / "clean.v1"
    assert exported(tmp_path, table, out) == (0, {"img/1.png", "img/2.png", "more/3.png"})
    assert not (tmp_path / "clean.v1-refused.csv").exists()
    names = {row["sample_id"]: row["copy"] for row in listed_in(tmp_path / "clean.v1-names.csv")}
    assert names[f"{tmp_path}/data/img/1.png"] == "img/1.png"
    assert len(names) == 3


def test_two_names_of_one_file_are_two_copies(tmp_path, making):
    pictures(tmp_path / "data", making, "img/1.png")
    (tmp_path / "data" / "all.csv").write_text("path,label\nimg/1.png,a\nimg/../img/1.png,a\n")
    assert exported(tmp_path, tmp_path / "data" / "all.csv", tmp_path / "clean") == (0, {"img/1.png", "img/1-2.png"})


def test_what_could_not_be_copied_is_told_by_the_exit_code(tmp_path, making, capsys):
    pictures(tmp_path / "data", making, "1.png")
    making.pixels().save(tmp_path / "data" / "2.ico")
    assert exported(tmp_path, tmp_path / "data", tmp_path / "clean") == (1, {"1.png"})
    told = capsys.readouterr().out
    assert "images 1, failed 0, refused 1, renamed 0, " in told
    assert "kB of metadata removed" in told
    assert "bytes_removed" not in told
    (row,) = listed_in(tmp_path / "clean-refused.csv")
    assert (row["sample_id"], row["reason"][:3]) == ("2.ico", "ICO")


@pytest.mark.parametrize("asked", [[], ["--kind", "folder"]])
def test_a_dataset_that_was_moved_is_to_be_put_back(tmp_path, making, capsys, asked):
    data, run = tmp_path / "data", str(tmp_path / "run")
    pictures(data, making, "1.png")
    assert invoke(["scan", str(data), "--out", run, "--backbone", "embedded", "--device", "cpu", "--only", "privacy", "--quiet", *asked]) == 0
    data.rename(tmp_path / "moved")
    assert invoke(["export", run, "--strip-metadata", str(tmp_path / "clean")]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {data}: the dataset is not where the scan found it (")
    assert told.endswith("); put it back there, or scan it anew where it is now\n")
    assert not (tmp_path / "clean").exists()


@pytest.mark.parametrize("kind", [".tiff", ".ppm", ".png"])
def test_no_copy_has_fewer_bits_than_its_image(kind):
    deep = np.random.default_rng(0).integers(0, 2**16, (8, 9, 3), np.uint16)
    data = cv2.imencode(kind, deep)[1].tobytes()
    if kind == ".png":
        assert np.array_equal(cv2.imdecode(np.frombuffer(without_metadata(data), np.uint8), cv2.IMREAD_UNCHANGED), deep)
    else:
        with pytest.raises(Refused, match="mode RGB;16"):
            without_metadata(data)


def box(name, *content):
    return struct.pack(">I4s", 8 + sum(map(len, content)), name) + b"".join(content)


CONTAINERS = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0}


def with_box(data, more, path, start=0, end=None):
    """Put one more box behind the others of a container; places of pixels move along."""
    at, end = start, len(data) if end is None else end
    while at + 8 <= end:
        size, name = struct.unpack(">I4s", data[at : at + 8])
        if name == path[0]:
            inner = data[at + 8 : at + size]
            inner = inner + more if len(path) == 1 else with_box(inner, more, path[1:], CONTAINERS[name])
            return data[:at] + struct.pack(">I4s", 8 + len(inner), name) + inner + data[at + size :]
        at += size
    raise AssertionError(path)


def moved(data, by):
    """Add a number to the places of items and frames; all tables here have four bytes for a place."""
    out = bytearray(data)
    at = data.find(b"iloc")
    while at >= 0:
        (items,) = struct.unpack(">H", data[at + 10 : at + 12])
        for place in (at + 12 + 14 * number + 6 for number in range(items)):
            out[place : place + 4] = struct.pack(">I", struct.unpack(">I", data[place : place + 4])[0] + by)
        at = data.find(b"iloc", at + 4)
    if b"stco" in data:
        place = data.index(b"stco") + 12
        out[place : place + 4] = struct.pack(">I", struct.unpack(">I", data[place : place + 4])[0] + by)
    return bytes(out)


XMP_UUID = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")
PATHS = [(), (b"meta",), (b"meta", b"iprp", b"ipco")]
FILM_PATHS = [(b"moov",), (b"moov", b"trak"), (b"moov", b"trak", b"mdia", b"minf", b"stbl")]


@pytest.mark.skipif(not features.check("avif"), reason="this build of Pillow writes no AVIF")
@pytest.mark.parametrize("path", PATHS + FILM_PATHS, ids=lambda path: b"/".join(path).decode() or "file")
@pytest.mark.parametrize("name", [b"uuid", b"free", b"skip", b"udta", b"udes", b"xml "])
def test_what_is_hidden_in_other_boxes_of_an_avif_goes_or_is_refused(making, secret, path, name):
    hidden = secret.encode()
    content = {b"uuid": (XMP_UUID, making.xmp_packet("owner")), b"udta": (box(b"meta", b"\0\0\0\0", box(b"\xa9nam", hidden)),)}
    more = box(name, *content.get(name, (b"\0\0\0\0en\0", hidden, b"\0")))
    film = {"save_all": True, "append_images": [making.pixels().rotate(180)]} if path[:1] == (b"moov",) else {}
    data = making.encoded("AVIF", **film)
    file = with_box(moved(data, len(more)), more, path) if path else data + more
    assert np.array_equal(frames(file), frames(data))
    if path[-1:] == (b"ipco",) and name in {b"udta", b"xml "}:
        with pytest.raises(Refused, match="has the property"):
            without_metadata(file)
        return
    clean = without_metadata(file)
    assert hidden not in clean
    assert np.array_equal(frames(clean), frames(data))
    assert without_metadata(clean) == clean


@pytest.mark.skipif(not features.check("avif"), reason="this build of Pillow writes no AVIF")
def test_names_and_dates_in_boxes_that_an_avif_needs_are_blanked(making, secret):
    hidden = secret.encode()
    data = making.encoded("AVIF", save_all=True, append_images=[making.pixels().rotate(180)])
    longer = moved(data.replace(b"Color\0", b"Secre\0"), len(hidden))
    at = longer.index(b"hdlr") - 4
    named = longer[:at] + struct.pack(">I", 33 + len(hidden)) + longer[at + 4 : at + 32] + hidden + b"\0" + longer[at + 33 :]
    meta = named.index(b"meta") - 4
    named = named[:meta] + struct.pack(">I", struct.unpack(">I", named[meta : meta + 4])[0] + len(hidden)) + named[meta + 4 :]
    assert np.array_equal(frames(named), frames(data))
    clean = without_metadata(named)
    assert np.array_equal(frames(clean), frames(data))
    assert not any(word in clean for word in (hidden, b"Secre", b"AOM Coding"))
    for name in (b"mvhd", b"tkhd", b"mdhd"):
        assert clean[clean.index(name) + 8 :][:16] == bytes(16)


@pytest.mark.skipif(not features.check("avif"), reason="this build of Pillow writes no AVIF")
def test_items_that_no_reader_takes_for_metadata_and_bytes_between_frames_go(making, secret):
    data = making.encoded("AVIF", xmp=making.xmp_packet("owner"))
    clean = without_metadata(data.replace(b"mime", b"uri "))
    assert secret.encode() not in clean
    assert np.array_equal(frames(clean), frames(data))
    film = making.encoded("AVIF", save_all=True, append_images=[making.pixels().rotate(180)])
    at = film.index(b"mdat") - 4
    hidden = film[:at] + struct.pack(">I", len(film) - at + len(secret)) + film[at + 4 :] + secret.encode()
    assert secret.encode() not in without_metadata(hidden)
    assert np.array_equal(frames(without_metadata(hidden)), frames(film))


@pytest.mark.skipif(not features.check("avif"), reason="this build of Pillow writes no AVIF")
@pytest.mark.parametrize("more", [0, 1])
def test_the_alpha_of_an_avif_stays(making, secret, more):
    alpha = Image.fromarray(np.random.default_rng(4).integers(0, 256, (24, 32, 4), np.uint8))
    stream = io.BytesIO()
    alpha.save(stream, "AVIF", save_all=bool(more), append_images=[alpha.rotate(180)] * more, xmp=making.xmp_packet("owner"))
    clean = without_metadata(stream.getvalue())
    assert len(np.unique(frames(clean)[..., 3])) > 100
    assert np.array_equal(frames(clean), frames(stream.getvalue()))
    assert secret.encode() not in clean


@pytest.mark.skipif(not features.check("avif"), reason="this build of Pillow writes no AVIF")
def test_a_thumbnail_of_an_avif_goes(making):
    data = making.encoded("AVIF", exif=making.exif_block("owner"))
    item = data.index(b"ExifExif\0")
    picture = data[:item] + b"av01" + data[item + 4 :]  # the second item is a picture of its own now, said to be a thumbnail
    picture = picture.replace(b"cdsc\0\2", b"thmb\0\2")
    start, size = struct.unpack(">2I", picture[picture.index(b"iloc") + 12 + 14 + 6 :][:8])
    clean = without_metadata(picture)
    assert np.array_equal(frames(clean), frames(data))
    assert any(picture[start : start + size])
    assert not any(clean[start : start + size])


@pytest.mark.skipif(not features.check("avif"), reason="this build of Pillow writes no AVIF")
def test_an_animated_avif_keeps_its_frames(making, secret):
    rest = [Image.fromarray(255 - np.asarray(making.pixels())), making.pixels().rotate(180)]
    data = making.encoded("AVIF", save_all=True, append_images=rest, xmp=making.xmp_packet("owner"))
    clean = without_metadata(data)
    assert len(frames(clean)) == 3
    assert np.array_equal(frames(clean), frames(data))
    assert secret.encode() not in clean


@pytest.mark.skipif(not features.check("avif"), reason="this build of Pillow writes no AVIF")
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_avif_is_cleaned_or_refused(making, secret, data):
    whole = bytearray(making.encoded("AVIF", xmp=making.xmp_packet("owner")))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, min(len(whole) - 1, 500)))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(8, len(whole)))])
    with contextlib.suppress(Refused):
        assert len(without_metadata(cut)) == len(cut) or Image.open(io.BytesIO(cut)).format != "AVIF"
