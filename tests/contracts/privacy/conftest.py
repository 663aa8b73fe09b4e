"""Files with one family of metadata each, for every block and container."""

import io
import struct
import zlib
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin, features

SECRET = "Zq7Xk9Secret"
AVIF = features.check("avif")
"""Whether this build of Pillow writes AVIF."""

EXIF_FIELDS = {
    "serial": ("exif", 0xA431),
    "owner": ("ifd0", 0x013B),
    "comment": ("ifd0", 0x010E),
    "maker_note": ("exif", 0x927C),
    "date": ("exif", 0x9003),
    "software": ("ifd0", 0x0131),
    "copyright": ("ifd0", 0x8298),
}
XMP_FIELDS = {
    "gps": "exif:GPSLatitude",
    "place": "photoshop:City",
    "serial": "aux:SerialNumber",
    "owner": "dc:creator",
    "comment": "dc:description",
    "date": "xmp:CreateDate",
    "thumbnail": "xmp:Thumbnails",
    "software": "xmp:CreatorTool",
    "copyright": "dc:rights",
}
MORE_XMP_FIELDS = {
    "software": ("xmpMM:DocumentID", "xmpMM:InstanceID", "xmpMM:OriginalDocumentID", "stRef:documentID", "stEvt:instanceID"),
    "owner": ("mwg-rs:Name", "MPReg:PersonDisplayName", "MPReg:PersonEmailDigest"),
    "comment": ("digiKam:TagsList", "lr:hierarchicalSubject", "MicrosoftPhoto:LastKeywordXMP", "mediapro:CatalogSets"),
}
IPTC_FIELDS = {"place": 90, "owner": 80, "comment": 120, "date": 55, "software": 65, "copyright": 116}
TEXT_KEYS = {"owner": "Author", "comment": "parameters", "date": "Creation Time", "software": "Software", "copyright": "Copyright"}


class Case(NamedTuple):
    container: str
    source: str
    family: str
    data: bytes

    @property
    def name(self):
        return f"{self.container}-{self.source}-{self.family}"


def pixels():
    return Image.fromarray(np.random.default_rng(3).integers(0, 256, (24, 32, 3), np.uint8))


def encoded(container, **options):
    stream = io.BytesIO()
    if container == "WEBP":
        options["lossless"] = True
    pixels().save(stream, container, **options)
    return stream.getvalue()


def exif_block(family, secret=SECRET, orientation=1):
    """Return a TIFF structure with one family's field and the orientation."""
    text = secret.encode() + b"\0"
    parts = {"ifd0": {0x0112: (3, 1, struct.pack("<HH", orientation, 0))}, "exif": {}, "gps": {}, "ifd1": {}}
    if family in EXIF_FIELDS:
        where, tag = EXIF_FIELDS[family]
        parts[where][tag] = (7 if tag == 0x927C else 2, len(text), text)
    elif family == "gps":
        degrees = struct.pack("<6I", 52, 1, 31, 1, 12987654, 1000000)
        parts["gps"] = {1: (2, 2, b"N\0\0\0"), 2: (5, 3, degrees), 3: (2, 2, b"E\0\0\0"), 4: (5, 3, degrees), 27: (7, len(text), text)}
    elif family == "place":
        parts["gps"] = {28: (7, len(text), text)}
    elif family == "thumbnail":
        parts["ifd1"] = {0x0103: (3, 1, struct.pack("<HH", 6, 0)), 0x0201: (4, 1, b"    "), 0x0202: (4, 1, struct.pack("<I", len(text)))}
    return _laid_out(parts, text)


def _laid_out(parts, thumbnail):
    pointers = {"exif": 0x8769, "gps": 0x8825}
    for name, tag in pointers.items():
        if parts[name]:
            parts["ifd0"][tag] = (4, 1, b"    ")
    offsets, at = {}, 8
    for name, entries in parts.items():
        offsets[name] = at
        at += 6 + sum(12 + (len(value) + 1) // 2 * 2 * (len(value) > 4) for *_, value in entries.values()) if entries else 0
    for name, tag in pointers.items():
        if parts[name]:
            parts["ifd0"][tag] = (4, 1, struct.pack("<I", offsets[name]))
    if parts["ifd1"]:
        parts["ifd1"][0x0201] = (4, 1, struct.pack("<I", at))
    block = b"II*\0" + struct.pack("<I", 8)
    for name, entries in parts.items():
        if not entries:
            continue
        head, tail = struct.pack("<H", len(entries)), b""
        values_at = offsets[name] + 6 + 12 * len(entries)
        for tag, (kind, count, value) in sorted(entries.items()):
            field = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", values_at + len(tail))
            tail += value + b"\0" * (len(value) % 2) if len(value) > 4 else b""
            head += struct.pack("<HHI", tag, kind, count) + field
        block += head + struct.pack("<I", offsets["ifd1"] if name == "ifd0" and parts["ifd1"] else 0) + tail
    return block + (thumbnail if parts["ifd1"] else b"")


def xmp_packet(family, secret=SECRET, name=None):
    name = name or XMP_FIELDS[family]
    return f'<x:xmpmeta x:xmptk="k"><rdf:Description><{name}>{secret}</{name}></rdf:Description></x:xmpmeta>'.encode()


def iptc_block(family, secret=SECRET):
    return b"\x1c\x02" + bytes([IPTC_FIELDS[family]]) + struct.pack(">H", len(secret)) + secret.encode()


def resource(number, content):
    return b"8BIM" + struct.pack(">H", number) + b"\0\0" + struct.pack(">I", len(content)) + content + b"\0" * (len(content) % 2)


def in_jpeg(marker, content, data=None):
    data = data or encoded("JPEG")
    return data[:2] + b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content + data[2:]


def in_png(kind, content, *, behind=False, data=None):
    data = data or encoded("PNG")
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    at = len(data) - 12 if behind else 33
    return data[:at] + chunk + data[at:]


def in_gif(label, content, data=None):
    """Insert an extension before the first frame."""
    data = data or encoded("GIF")
    at = 13 + (3 * 2 ** ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    return data[:at] + b"\x21" + bytes([label]) + content + data[at:]


def xmp_in_gif(packet):
    return b"\x0bXMP DataXMP" + packet + b"\x01" + bytes(range(255, -1, -1)) + b"\0"


def in_tiff(tag, content, kind=7):
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info.tagtype[tag] = kind
    info[tag] = content
    return encoded("TIFF", tiffinfo=info)


def xmp_cases():
    for family in XMP_FIELDS:
        packet = xmp_packet(family)
        yield Case("JPEG", "xmp", family, in_jpeg(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet))
        yield Case("JPEG extended", "xmp", family, in_jpeg(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 40 + packet))
        yield Case("PNG", "xmp", family, in_png(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet))
        yield Case("WEBP", "xmp", family, encoded("WEBP", xmp=packet))
        if AVIF:
            yield Case("AVIF", "xmp", family, encoded("AVIF", xmp=packet))
        yield Case("TIFF", "xmp", family, in_tiff(700, packet, 1))
        yield Case("GIF", "xmp", family, in_gif(0xFF, xmp_in_gif(packet)))
    for family, names in MORE_XMP_FIELDS.items():
        for name in names:
            yield Case(f"WEBP {name}", "xmp", family, encoded("WEBP", xmp=xmp_packet(family, name=name)))


def every_case():
    secret = SECRET.encode()
    for family in (*EXIF_FIELDS, "gps", "place", "thumbnail"):
        block = exif_block(family)
        yield Case("JPEG", "exif", family, in_jpeg(0xE1, b"Exif\0\0" + block))
        yield Case("PNG", "exif", family, in_png(b"eXIf", block))
        yield Case("WEBP", "exif", family, encoded("WEBP", exif=b"Exif\0\0" + block))
        if AVIF and family != "thumbnail":  # Pillow writes none
            yield Case("AVIF", "exif", family, encoded("AVIF", exif=b"Exif\0\0" + block))
    for family, (where, tag) in EXIF_FIELDS.items():
        if where == "ifd0":
            yield Case("TIFF", "tiff", family, in_tiff(tag, SECRET, 2))
    yield Case("TIFF", "exif", "gps", in_tiff(0x8825, {2: (52.0, 31.0, 12.987654), 4: (13.0, 24.0, 18.0)}, 4))
    yield Case("TIFF", "exif", "serial", in_tiff(0x8769, {0xA431: SECRET}, 4))
    yield from xmp_cases()
    for family in IPTC_FIELDS:
        block = iptc_block(family)
        yield Case("JPEG", "iptc", family, in_jpeg(0xED, b"Photoshop 3.0\0" + resource(0x0404, block)))
        yield Case("TIFF", "iptc", family, in_tiff(33723, block))
        yield Case("TIFF Photoshop", "iptc", family, in_tiff(34377, resource(0x0404, block)))
        profile = f"\niptc\n{len(block)}\n{block.hex()}".encode()
        yield Case("PNG", "iptc", family, in_png(b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(profile)))
    yield Case("JPEG", "photoshop", "thumbnail", in_jpeg(0xED, b"Photoshop 3.0\0" + resource(0x040C, secret)))
    yield Case("JPEG", "photoshop", "copyright", in_jpeg(0xED, b"Photoshop 3.0\0" + resource(0x040B, secret)))
    yield Case("JPEG", "comment", "comment", in_jpeg(0xFE, secret))
    yield Case("GIF", "comment", "comment", encoded("GIF", comment=secret))
    yield Case("GIF behind the frame", "comment", "comment", encoded("GIF")[:-1] + b"\x21\xfe" + bytes([len(secret)]) + secret + b"\0\x3b")
    for family, key in TEXT_KEYS.items():
        name = key.encode() + b"\0"
        yield Case("PNG tEXt", "text", family, in_png(b"tEXt", name + secret))
        yield Case("PNG zTXt", "text", family, in_png(b"zTXt", name + b"\0" + zlib.compress(secret)))
        yield Case("PNG iTXt", "text", family, in_png(b"iTXt", name + b"\0\0\0\0" + secret))
        yield Case("PNG tEXt behind the pixels", "text", family, in_png(b"tEXt", name + secret, behind=True))
    yield Case("PNG tIME", "text", "date", in_png(b"tIME", struct.pack(">H5B", 2024, 5, 17, 1, 2, 3)))


CASES = list(every_case())


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", CASES, ids=[case.name for case in CASES])


@pytest.fixture
def cases():
    return CASES


@pytest.fixture
def secret():
    return SECRET


@pytest.fixture
def making():
    """Functions that put blocks into files: ``making.in_jpeg(...)``."""
    import types

    return types.SimpleNamespace(
        **{function.__name__: function for function in (encoded, exif_block, xmp_packet, in_jpeg, in_png, in_gif, xmp_in_gif, in_tiff, pixels)}
    )
