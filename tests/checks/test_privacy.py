import numpy as np


def test_reports_each_image_and_each_family_once(run_named, samples_of):
    families = [
        ["date/exif", "gps/exif", "gps/xmp"],
        ["owner/iptc"],
        ["date/xmp", "thumbnail/exif"],
        ["copyright/exif"],
        [],
        ["place/iptc", "gps/xmp"],
    ]
    rows = [{"exif_families": some, "label": label} for some, label in zip(families, "aabbbb", strict=True)]
    result = run_named("privacy", samples=samples_of(rows))
    assert [(finding.kind, finding.row, finding.severity) for finding in result.findings] == [
        ("gps", 0, "warning"),
        ("owner", 1, "warning"),
        ("gps", 5, "warning"),
        *((kind, None, "info") for kind in ("gps", "owner", "place", "date", "thumbnail", "copyright")),
    ]
    gps, date = result.findings[3], result.findings[6]
    expected = {"family": "gps", "images": 2, "sources": {"exif": 1, "xmp": 2}, "classes": 2, "images_per_class": {"a": 1, "b": 1}}
    assert gps.evidence == expected
    assert date.evidence["sources"] == {"exif": 1, "xmp": 1}
    np.testing.assert_allclose(result.scores, [1, 0.7, 0.2, 0, 0, 1])


def test_old_runs_have_no_sources(run_named, samples_of):
    result = run_named("privacy", samples=samples_of([{"exif_families": ["serial"], "label": None}]))
    assert [finding.kind for finding in result.findings] == ["serial", "serial"]
    assert result.findings[1].evidence["sources"] == {"unknown": 1}
    assert result.findings[1].evidence["images_per_class"] == {}


def test_image_counts_for_each_label(run_named, samples_of):
    several = [["a", "b"], ["b", "b", "c"], [], ["d"]]
    rows = [{"exif_families": ["gps/exif"], "label": None, "labels": labels} for labels in several[:3]]
    result = run_named("privacy", samples=samples_of([*rows, {"exif_families": [], "label": None, "labels": several[3]}]))
    evidence = result.findings[-1].evidence
    assert (evidence["images"], evidence["classes"], evidence["images_per_class"]) == (3, 3, {"b": 2, "a": 1, "c": 1})
