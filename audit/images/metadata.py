"""Find which families of personal metadata an image file contains, and in which block; names only, never values.

Pillow reads the blocks; this module assigns their fields to families. Sources: EXIF 3.0 (CIPA DC-008-2023), XMP (ISO 16684-1; Adobe's part 3 for
GIF) and the namespaces of IPTC's Photo Metadata Standard, of the Metadata Working Group's regions, of Microsoft, digiKam and Lightroom, IPTC-IIM 4.2,
PNG (W3C, third edition), TIFF 6.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from PIL import ExifTags, Image

from audit.images.gif_blocks import APPLICATION, COMMENT, gif_blocks, parts_of

FAMILIES = ("gps", "place", "serial", "owner", "comment", "maker_note", "date", "thumbnail", "software", "copyright")
"""Coordinates; place names; serial numbers and unique ids; names of people and their machines; free text; maker notes; dates; thumbnails; programs
and their document ids; licence and copyright."""

SOURCES = ("exif", "xmp", "iptc", "photoshop", "comment", "text", "tiff", "mpf")
"""Blocks: EXIF, XMP, IPTC-IIM, Photoshop resources, JPEG and GIF comments, PNG text and time, TIFF tags, more images after a JPEG (MPF)."""

_EXIF: Mapping[str, tuple[int, ...]] = {
    "serial": (0xA431, 0xA435, 0xA420, 0xC62F),  # body, lens, image id, DNG camera
    "owner": (0xA430, 0x013B, 0x9C9D, 0x013C, 0xA437, 0xA438),  # owner, artist, author, host computer, photographer, editor
    "comment": (0x010E, 0x9286, 0x9C9B, 0x9C9C, 0x9C9E, 0x9C9F, 0xA436),  # description, user comment, Windows' title to subject, title
    "maker_note": (0x927C,),
    "date": (0x0132, 0x9003, 0x9004, 0xC71B),
    "software": (0x0131, 0x000B, 0xA439, 0xA43A, 0xA43B, 0xA43C),
    "copyright": (0x8298,),
}
_GPS: Mapping[str, tuple[int, ...]] = {"gps": (2, 4, 20, 22), "place": (28,), "date": (7, 29)}
"""Latitude and longitude, also of the destination; area name; time and date."""

_IPTC: Mapping[str, tuple[int, ...]] = {
    "place": (26, 27, 90, 92, 95, 100, 101),
    "owner": (80, 85, 110, 115, 118, 122),
    "comment": (5, 25, 40, 103, 105, 120, 230),
    "date": (30, 35, 37, 38, 47, 55, 60, 62, 63),
    "software": (65, 70),
    "copyright": (116,),
}
"""Data sets of record 2."""

_NAMES: Mapping[str, str] = {
    "gps": "GPSLatitude GPSLongitude GPSDestLatitude GPSDestLongitude GPSPosition GPSInfo",
    "place": "City State Country CountryCode CountryName Location LocationName LocationCreated LocationShown Sublocation ProvinceState "
    "GPSAreaInformation",
    "serial": "SerialNumber BodySerialNumber LensSerialNumber InternalSerialNumber CameraSerialNumber ImageUniqueID",
    "owner": "OwnerName CameraOwnerName Owner creator Creator Author author Artist Photographer ImageEditor HostComputer AuthorsPosition "
    "CaptionWriter Credit CreatorContactInfo CiEmailWork CiTelWork CiAdrExtadr CiUrlWork PersonInImage PersonInImageWDetails LicensorName "
    "LicensorEmail mwg-rs:Name PersonDisplayName PersonEmailDigest",
    "comment": "description Description title Title subject Headline UserComment ImageDescription Instructions Event Comment Keywords "
    "TransmissionReference TagsList hierarchicalSubject LastKeywordXMP CatalogSets",
    "maker_note": "MakerNote",
    "date": "CreateDate ModifyDate MetadataDate DateCreated DateTime DateTimeOriginal DateTimeDigitized GPSTimeStamp GPSDateStamp when",
    "thumbnail": "Thumbnails Thumbnail",
    "software": "CreatorTool Software ProcessingSoftware softwareAgent HistorySoftwareAgent "
    "DocumentID InstanceID OriginalDocumentID documentID instanceID originalDocumentID",
    "copyright": "rights Rights WebStatement UsageTerms Copyright copyright license License Certificate CopyrightNotice CopyrightOwner LicensorURL",
}
"""Field names in any namespace; an ambiguous name has its namespace as a prefix (``crs:Name`` is the name of a preset)."""
_FAMILY_OF_NAME = {name: family for family, names in _NAMES.items() for name in names.split()}
_XMP_FIELD = re.compile(rb"[<\s](?!rdf:|x:)([\w.-]+:[\w.-]+)(?:\s*=\s*[\"'](?=[^\"'])|(?=[\s>]))")
"""A property with a value, as an element or as an attribute."""
_ATTRIBUTES = rb"(?:\s+(?:rdf:(?!resource)|xml:|xmlns:?)[\w.-]*\s*=\s*(?:\"[^\"<>]*\"|'[^'<>]*'))*"
_XMP_EMPTY = re.compile(rb"<([\w.:-]+)" + _ATTRIBUTES + rb"\s*(?:/>|>\s*</\1\s*>)")
"""An element without a value: ``<dc:creator><rdf:Seq><rdf:li/></rdf:Seq></dc:creator>`` becomes empty from the inside."""
_XMP_NESTED = 6
"""Levels of empty elements that are removed; a structure inside a list has five."""

_FAMILY_OF_KEY = {"author": "owner", "creation time": "date", "software": "software", "copyright": "copyright"}
"""PNG's registered keywords; others are free text."""

_THUMBNAIL_RESOURCES, _URL_RESOURCE, _XMP_RESOURCE, _IPTC_RESOURCE = (0x0409, 0x040C), 0x040B, 0x0424, 0x0404
_XMP_TAG, _PHOTOSHOP_TAG, _IPTC_TAG = 700, 34377, 33723
_TIME_CHUNK = b"\0\0\0\x07tIME"
_XMP_IN_GIF = b"XMP DataXMP"
_BLANK = b"\0 \t\r\n"


def metadata_families(image: Image.Image, data: bytes) -> tuple[str, ...]:
    """Return the families of personal metadata in a file.

    Args:
        image: the file as Pillow opened it; PNG chunks after the pixels are visible only once they are loaded.
        data: the file's bytes.

    Returns:
        Sorted ``family/source`` of ``FAMILIES`` and ``SOURCES``, such as ``gps/exif``. Of a corrupt block, the readable part counts.
    """
    found: set[str] = set()
    for read in (_exif, _xmp, _iptc, _comments, _png):
        # Pillow raises arbitrary exceptions for corrupt blocks; what was read before, and the other blocks, still count.
        try:
            found.update(f"{family}/{source}" for family, source in read(image, data))
        except Exception:  # noqa: BLE001, S112
            continue
    if image.format == "MPO":
        found.add("thumbnail/mpf")
    return tuple(sorted(found))


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation in 1..8; 1 if it is absent, invalid or unreadable."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001  Pillow raises arbitrary exceptions for corrupt EXIF
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def families_of_xmp(packet: bytes) -> set[str]:
    """Return the families of an XMP packet in any of its encodings.

    >>> families_of_xmp(b'<rdf:Description exif:GPSLatitude="52,31N" tiff:Software=""><dc:creator/></rdf:Description>')
    {'gps'}
    """
    filled = packet.replace(b"\0", b"")
    for _ in range(_XMP_NESTED):
        filled, removed = _XMP_EMPTY.subn(b" ", filled)
        if not removed:
            break
    found = {name.decode() for name in _XMP_FIELD.findall(filled) if name.isascii()}
    families = {_FAMILY_OF_NAME.get(name) or _FAMILY_OF_NAME.get(name.partition(":")[2]) for name in found}
    return {family for family in families if family}


Found = Iterable[tuple[str, str]]


def _exif(image: Image.Image, data: bytes) -> Found:
    del data
    is_tiff = image.format == "TIFF"
    holds = is_tiff or image.format == "MPO" or any(name in image.info for name in ("exif", "Raw profile type exif", "Raw profile type APP1"))
    if not holds:
        return
    exif = image.getexif()
    yield from _of_tags(exif, _EXIF, "tiff" if is_tiff else "exif")
    if exif.get_ifd(ExifTags.IFD.IFD1) and not is_tiff:
        yield "thumbnail", "exif"
    yield from _of_tags(exif.get_ifd(ExifTags.IFD.Exif), _EXIF, "exif")
    yield from _of_tags(exif.get_ifd(ExifTags.IFD.GPSInfo), _GPS, "exif")


def _of_tags(tags: Mapping[int, Any], families: Mapping[str, tuple[int, ...]], source: str) -> Found:
    for family, wanted in families.items():
        if any(_has_content(tags[tag]) for tag in wanted if tag in tags):
            yield family, source


def _has_content(value: object) -> bool:
    """Return whether a value is not blank: cameras write blank fields, and comments that are only a character code."""
    if isinstance(value, str):
        value = value.encode("utf-8", "replace")
    if isinstance(value, bytes):
        for code in (b"ASCII\0\0\0", b"UNICODE\0", b"JIS\0\0\0\0\0"):
            value = value.removeprefix(code)
        return bool(value.strip(_BLANK))
    return value is not None


def _xmp(image: Image.Image, data: bytes) -> Found:
    packets = [image.info.get("xmp"), image.info.get("XML:com.adobe.xmp"), _raw_profile(image, "xmp")]
    packets += [content for name, content in getattr(image, "applist", []) if name == "APP1" and content.startswith(b"http://ns.adobe.com/")]
    packets += [_photoshop(image).get(_XMP_RESOURCE)]
    if image.format == "TIFF":
        packets.append(_tiff_bytes(image, _XMP_TAG))
    for packet in chain(packets, _xmp_of_gif(data) if image.format == "GIF" else ()):
        if isinstance(packet, str | bytes):
            yield from ((family, "xmp") for family in families_of_xmp(packet if isinstance(packet, bytes) else packet.encode()))


def _xmp_of_gif(data: bytes) -> Iterator[bytes]:
    """Yield XMP packets, which are not split into sub-blocks; their trailer (descending byte values) lets other parsers find the end."""
    for label, start, end in gif_blocks(data):
        if label == APPLICATION and data.startswith(_XMP_IN_GIF, start + 3):
            yield data[start:end]


def _iptc(image: Image.Image, data: bytes) -> Found:
    del data
    resources = _photoshop(image)
    blocks = [resources.get(_IPTC_RESOURCE), _tiff_bytes(image, _IPTC_TAG) if image.format == "TIFF" else None, _raw_profile(image, "iptc")]
    if any(code in resources for code in _THUMBNAIL_RESOURCES):
        yield "thumbnail", "photoshop"
    if _has_content(resources.get(_URL_RESOURCE)):
        yield "copyright", "photoshop"
    for block in blocks:
        if isinstance(block, bytes):
            written = _data_sets(block)
            yield from ((family, "iptc") for family, numbers in _IPTC.items() if written & set(numbers))


def _data_sets(block: bytes) -> set[int]:
    """Return the numbers of record 2's data sets that are not blank."""
    start = block.find(b"\x1c\x02")
    found: set[int] = set()
    while start >= 0 and start + 5 <= len(block) and block[start] == 0x1C:
        size = int.from_bytes(block[start + 3 : start + 5], "big")
        if size & 0x8000:  # extended: the size itself has this many bytes
            width = size & 0x7FFF
            size = int.from_bytes(block[start + 5 : start + 5 + width], "big")
            content = start + 5 + width
        else:
            content = start + 5
        if block[start + 1] == 2 and block[content : content + size].strip(_BLANK):
            found.add(block[start + 2])
        start = content + size
    return found


def _photoshop(image: Image.Image) -> dict[int, bytes]:
    """Return the Photoshop resources of a JPEG or TIFF by number."""
    parsed = image.info.get("photoshop")
    if isinstance(parsed, dict):
        return parsed
    raw = _tiff_bytes(image, _PHOTOSHOP_TAG) if image.format == "TIFF" else None
    found: dict[int, bytes] = {}
    at = 0
    while raw is not None and raw[at : at + 4] == b"8BIM":
        number = int.from_bytes(raw[at + 4 : at + 6], "big")
        at += 6 + (raw[at + 6] + 2) // 2 * 2  # a length-prefixed name, padded to even
        size = int.from_bytes(raw[at : at + 4], "big")
        found[number] = raw[at + 4 : at + 4 + size]
        at += 4 + (size + 1) // 2 * 2
    return found


def _tiff_bytes(image: Image.Image, tag: int) -> bytes | None:
    tags: Any = getattr(image, "tag_v2", {})
    value = tags.get(tag)
    if isinstance(value, tuple):
        if len(value) == 1 and isinstance(value[0], bytes):
            return value[0]
        # IPTC blocks are often declared as 32-bit numbers.
        value = b"".join(int(number).to_bytes(4, "little" if tags.prefix == b"II" else "big") for number in value)
    return value if isinstance(value, bytes) else value.encode("latin-1", "replace") if isinstance(value, str) else None


def _comments(image: Image.Image, data: bytes) -> Found:
    texts = [image.info.get("comment")]
    # Pillow reads only the comments before a GIF's first frame.
    more = (b"".join(parts_of(data, start, end)) for label, start, end in gif_blocks(data) if label == COMMENT) if image.format == "GIF" else ()
    if any(_has_content(text) for text in chain(texts, more) if text is not None):
        yield "comment", "comment"


def _png(image: Image.Image, data: bytes) -> Found:
    if image.format != "PNG":
        return
    for key, value in getattr(image, "text", {}).items():
        if key == "XML:com.adobe.xmp" or key.startswith("Raw profile type") or not _has_content(value):
            continue
        by_name = _FAMILY_OF_NAME.get(key.rpartition(":")[2], "comment")
        yield ("date" if key.startswith("date:") else _FAMILY_OF_KEY.get(key.lower(), by_name)), "text"
    if _TIME_CHUNK in data:
        yield "date", "text"


def _raw_profile(image: Image.Image, name: str) -> bytes | None:
    """Return a profile that ImageMagick wrote as PNG text: a name, a length and hexadecimal digits."""
    text = image.info.get(f"Raw profile type {name}")
    return bytes.fromhex("".join(text.split("\n")[3:])) if isinstance(text, str) else None
