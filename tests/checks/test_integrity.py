import numpy as np
import pytest

from audit.checks import integrity
from audit.checks.integrity import extension_score


@pytest.mark.parametrize("outcome", ["unreadable", "truncated", "empty", "missing", "too_large", "crashed"])
def test_every_failure_is_an_error(run_named, samples_of, outcome):
    samples = samples_of([{"outcome": outcome, "error": "because {x}", "format": None, "mode": None}, {}])
    result = run_named("integrity", samples=samples)
    assert [(finding.kind, finding.severity, finding.row) for finding in result.findings] == [(outcome, "error", 0)]
    assert result.scores.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"format": "PNG"}, "wrong_extension"),
        ({"orientation": 6}, "exif_rotated"),
        ({"mode": "CMYK"}, "odd_mode"),
        ({"mode": "I;16", "format": "PNG", "sample_id": "a.png"}, "odd_mode"),
        ({"mode": "RGB;16", "format": "PNG", "sample_id": "a.png"}, "odd_mode"),
        ({"frames": 3, "format": "GIF", "mode": "P", "sample_id": "a.gif"}, "animated"),
        ({"has_alpha": True, "mode": "RGBA", "format": "PNG", "sample_id": "a.png"}, "alpha"),
    ],
)
def test_reports_oddities(run_named, samples_of, row, kind):
    result = run_named("integrity", samples=samples_of([row, {}]))
    assert [(finding.kind, finding.row) for finding in result.findings] == [(kind, 0)]
    assert result.scores[0] > 0
    assert result.scores[1] == 0


@pytest.mark.parametrize(
    ("name", "found", "score"),
    [("a.JPG", "JPEG", 0), ("a", "PNG", 0), ("a.jpg", "WEBP", 1), ("photo.2019", "JPEG", 0), ("a.tif", "TIFF", 0), ("dir.png/a.jpeg", "JPEG", 0)],
)
def test_extension(name, found, score):
    assert extension_score(name, found) == score


def test_ignores_missing_facts(run_named, samples_of):
    result = run_named(
        "integrity", samples=samples_of([{"frames": None, "orientation": None, "has_alpha": None, "sample_id": "key without extension"}])
    )
    assert not result.findings
    assert np.array_equal(result.scores, [0])


def test_files_that_are_no_images_are_named_once(samples_of):
    page = {"outcome": "unreadable", "error": "not an image: contains an HTML page; download it again", "content_id": "ab"}
    found = integrity.run(samples_of([{}, page, page, page | {"content_id": "cd"}, {"outcome": "unreadable", "error": "bad header"}])).findings
    assert [finding.message for finding in found if finding.kind == "not_images"] == [
        "3 of 5 files contain an HTML page instead of an image, 2 of them with the same bytes. Download it again."
    ]
    of_files = [finding for finding in found if finding.kind == "unreadable"]
    assert len(of_files) == 4
    assert of_files[0].message == "Is not an image but contains an HTML page. Download it again."


def named(samples_of, labels):
    rows = [{"pixel_id": "ff", "label": label} for label in labels]
    return [finding for finding in integrity.run(samples_of([*rows, {}, {}, {"pixel_id": "aa"}, {"pixel_id": "aa"}])).findings if finding.row is None]


def test_a_placeholder_under_many_labels_is_named_once(samples_of):
    (found,) = named(samples_of, ["ant", "bee", "cat", "ant", "bee", "dog"])
    assert found.message == "6 files with 4 labels show the same image. If it is a placeholder, such as 'image not available', remove them."
    assert (found.kind, found.group, found.evidence) == ("placeholder", 0, {"entries": 6, "labels": 4})


@pytest.mark.parametrize("labels", [["ant", "bee", "cat", "dog"], ["ant"] * 30, ["ant", "bee"] * 4])
def test_copies_of_a_photo_are_no_placeholder(samples_of, labels):
    assert not named(samples_of, labels)


def test_placeholders_without_labels(samples_of):
    rows = [{"pixel_id": "ff", "label": None}] * 10
    assert [finding.kind for finding in integrity.run(samples_of([*rows, {"label": None}])).findings] == ["placeholder"]
    assert not integrity.run(samples_of([*rows[:9], {"label": None}])).findings
