import io

import pytest
from PIL import Image

from audit.images.decode import decode
from audit.images.metadata import FAMILIES, SOURCES, families_of_xmp, metadata_families


def test_finds_each_family_in_each_container(case, secret):
    found = decode(case.data)
    assert found.outcome == "ok", found.error
    assert f"{case.family}/{case.source}" in found.facts.exif_families
    assert secret not in repr(found.facts)


def test_finds_only_the_documented_family(case):
    found = [entry.split("/") for entry in decode(case.data).facts.exif_families]
    assert all(family in FAMILIES and source in SOURCES for family, source in found)
    assert {family for family, _ in found} == {case.family}


@pytest.mark.parametrize("container", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"])
def test_file_without_metadata(making, container):
    assert decode(making.encoded(container)).facts.exif_families == ()


def test_ignores_blank_fields(making):
    blank = making.exif_block("owner", secret="   ")
    assert decode(making.in_jpeg(0xE1, b"Exif\0\0" + blank)).facts.exif_families == ()
    assert decode(making.in_jpeg(0xFE, b"  \0")).facts.exif_families == ()
    assert families_of_xmp(b'<a dc:rights=""><dc:creator/></a>') == set()


@pytest.mark.parametrize(
    ("value", "families"),
    [
        ("<rdf:Seq><rdf:li/></rdf:Seq>", set()),
        ("<rdf:Seq>\n <rdf:li></rdf:li>\n <rdf:li xml:lang='x-default'/>\n</rdf:Seq>", set()),
        ("  \n", set()),
        ("<rdf:Seq><rdf:li/><rdf:li>Jane</rdf:li></rdf:Seq>", {"owner"}),
        ("<rdf:Description mwg-rs:Name='Jane'></rdf:Description>", {"owner"}),
        ("<rdf:li rdf:resource='mailto:jane'/>", {"owner"}),
    ],
)
def test_an_empty_list_in_xmp_is_not_a_value(value, families):
    assert (
        families_of_xmp(f"<rdf:RDF><rdf:Description rdf:about=''><dc:creator>{value}</dc:creator></rdf:Description></rdf:RDF>".encode()) == families
    )


def test_large_hostile_xmp_takes_no_long_time():
    packet = b"<a:b " * 200_000 + b"<dc:creator>" * 100_000
    assert families_of_xmp(packet) == {"owner"}


def test_xmp_attributes_and_ambiguous_names():
    assert families_of_xmp(b'<crs:Look crs:Name="Adobe Color"/>') == set()
    assert families_of_xmp(b'<mwg-rs:Regions xmpMM:DocumentID="1" exif:GPSLatitude="52,31N" mwg-rs:Name="Jane"/>') == {"software", "gps", "owner"}


def test_reads_utf_16_xmp(making):
    assert families_of_xmp(making.xmp_packet("gps").decode().encode("utf-16")) == {"gps"}


def test_corrupt_block_does_not_affect_pixels_and_other_blocks(making):
    block = making.exif_block("gps")
    for cut in range(8, len(block), 7):
        data = making.in_jpeg(0xFE, b"a comment", making.in_jpeg(0xE1, b"Exif\0\0" + block[:cut]))
        found = decode(data)
        assert found.outcome == "ok"
        assert "comment/comment" in found.facts.exif_families


def test_gif_without_trailer(making):
    data = making.in_gif(0xFF, making.xmp_in_gif(making.xmp_packet("gps")))[:-1]
    assert decode(data).facts.exif_families == ("gps/xmp",)


def test_second_image_after_a_jpeg_is_a_thumbnail(making):
    stream = io.BytesIO()
    making.pixels().save(stream, "MPO", save_all=True, append_images=[making.pixels()])
    image = Image.open(io.BytesIO(stream.getvalue()))
    assert "thumbnail/mpf" in metadata_families(image, stream.getvalue())
