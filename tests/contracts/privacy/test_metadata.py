import io

import pytest
from PIL import Image

from audit.images.decode import decode
from audit.images.metadata import FAMILIES, SOURCES, families_of_xmp, metadata_families


def test_each_family_is_found_in_each_container(case, secret):
    found = decode(case.data)
    assert found.outcome == "ok", found.error
    assert f"{case.family}/{case.source}" in found.facts.exif_families
    assert secret not in repr(found.facts)


def test_names_are_the_documented_ones_and_nothing_else_is_found(case):
    found = [entry.split("/") for entry in decode(case.data).facts.exif_families]
    assert all(family in FAMILIES and source in SOURCES for family, source in found)
    assert {family for family, _ in found} == {case.family}


@pytest.mark.parametrize("container", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"])
def test_a_file_without_metadata_has_none(making, container):
    assert decode(making.encoded(container)).facts.exif_families == ()


def test_blank_fields_do_not_count(making):
    blank = making.exif_block("owner", secret="   ")
    assert decode(making.in_jpeg(0xE1, b"Exif\0\0" + blank)).facts.exif_families == ()
    assert decode(making.in_jpeg(0xFE, b"  \0")).facts.exif_families == ()
    assert families_of_xmp(b'<a dc:rights=""><dc:creator/></a>') == set()


def test_the_name_of_a_look_is_no_persons_and_fields_in_a_row_all_count():
    assert families_of_xmp(b'<crs:Look crs:Name="Adobe Color"/>') == set()
    assert families_of_xmp(b'<mwg-rs:Regions xmpMM:DocumentID="1" exif:GPSLatitude="52,31N" mwg-rs:Name="Jane"/>') == {"software", "gps", "owner"}


def test_xmp_in_sixteen_bits_is_read(making):
    assert families_of_xmp(making.xmp_packet("gps").decode().encode("utf-16")) == {"gps"}


def test_damaged_blocks_leave_the_picture_and_the_other_blocks(making):
    block = making.exif_block("gps")
    for cut in range(8, len(block), 7):
        data = making.in_jpeg(0xFE, b"a comment", making.in_jpeg(0xE1, b"Exif\0\0" + block[:cut]))
        found = decode(data)
        assert found.outcome == "ok"
        assert "comment/comment" in found.facts.exif_families


def test_a_gif_without_its_end_tells_what_it_holds(making):
    data = making.in_gif(0xFF, making.xmp_in_gif(making.xmp_packet("gps")))[:-1]
    assert decode(data).facts.exif_families == ("gps/xmp",)


def test_a_picture_behind_a_jpeg_is_a_thumbnail(making):
    stream = io.BytesIO()
    making.pixels().save(stream, "MPO", save_all=True, append_images=[making.pixels()])
    image = Image.open(io.BytesIO(stream.getvalue()))
    assert "thumbnail/mpf" in metadata_families(image, stream.getvalue())
