"""Inputs after public bug reports, kept next to the checkout: each is read as its description expects."""

import subprocess
import sys
from pathlib import Path

import pytest

import audit
from audit.images.signatures import HEAD_BYTES, image_format
from audit.ingest.listing import list_samples
from audit.sources import SourceOptions, open_source
from audit.sources.storage.names import unescape

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"

pytestmark = [pytest.mark.shared_data, pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is not here")]

NONE = None


def built(number, tmp_path):
    (folder,) = CASES.glob(f"{number}-*")
    subprocess.run([sys.executable, folder / "make.py", tmp_path / "set"], check=True)
    return tmp_path / "set"


@pytest.mark.parametrize(
    ("number", "inside", "options", "splits", "labels", "kind"),
    [
        ("07", "", {}, {"seg_train", "seg_test", "seg_pred"}, {"buildings", "forest", "glacier", NONE}, "assumed_layout"),
        ("08", "", {}, {NONE}, {"dog", "elephant", "horse", "house"}, "assumed_layout"),
        ("09", "", {}, {"train", "test"}, {"cat", "dog", "fox"}, "assumed_layout"),
        ("13", "data.csv", {}, {NONE}, {"cat", "dog", NONE}, NONE),
        ("14", "", {}, {"train", "test"}, {"cat", "dog"}, NONE),
        ("15", "train-000.tar", {}, {"train"}, {"0", "1"}, NONE),
        ("16", "", {"labels_file": "train/metadata.csv"}, {"train", "test"}, {"cat", "dog", NONE}, "unlisted_images"),
        ("20", "", {}, {"train", "valid"}, {"cat", "dog"}, "labels_from_tables"),
        ("21", "cifar-10-batches-py", {}, {"train"}, {"0"}, NONE),
        ("21", "classtars", {}, {NONE}, {"n01440764", "n01443537"}, NONE),
        ("21", "saved", {}, {"train"}, {str(number) for number in range(9)}, NONE),
        ("21", "wds", {}, {"train", "val"}, {"1"}, NONE),
        ("21", "npz", {}, {"train"}, {"0"}, NONE),
        ("23", "data.csv", {}, {NONE}, {"0", "1", "10", NONE}, "missing_labels"),
        ("26", "", {}, {NONE}, {"cat", "dog"}, "other_names"),
        ("28", "", {}, {NONE}, {NONE}, "unused_labels"),
    ],
)
def test_listing(number, inside, options, splits, labels, kind, tmp_path):
    folder = built(number, tmp_path)
    options = {name: str(folder / value) for name, value in options.items()}
    source = open_source(str(folder / inside) if inside else str(folder), SourceOptions(**options))
    table, problems = list_samples(source, lambda _: None)
    assert (set(table["split"].to_pylist()), set(table["label"].to_pylist())) == (splits, labels)
    assert kind is None or kind in {problem.kind for problem in problems}


def scanned(folder, tmp_path, *checks):
    return audit.scan(folder, tmp_path / "run", options=audit.ScanOptions(backbone="embedded", device="cpu", workers=1, only=checks))


@pytest.mark.slow
def test_error_pages_are_findings_of_integrity_only(tmp_path):
    run = scanned(built("01", tmp_path), tmp_path)
    rows = run.samples["sample_id"].str.contains("gone")
    pages = set(run.samples["sample_id"][rows])
    of_pages = run.findings[run.findings["sample_id"].isin(pages)]
    assert (len(of_pages), set(of_pages["check"])) == (16, {"integrity"})


def test_icons_on_transparency_are_no_copies(tmp_path):
    run = scanned(built("04", tmp_path), tmp_path, "exact_duplicates", "conflicting_labels", "image_quality")
    kinds = set(run.findings["kind"])
    assert not kinds & {"identical_pixels", "low_information"}
    assert run.samples["pixel_id"].nunique() == 48


@pytest.mark.parametrize("deep", ["ct", "rgb12"])
def test_deep_values_measure_what_8_bits_measure(deep, tmp_path):
    folder = built("11", tmp_path)
    plain, found = (scanned(folder / name, tmp_path / name, "integrity").samples for name in ("ct8", deep))
    assert abs(found["entropy"].median() - plain["entropy"].median()) < 0.5
    assert found["contrast"].median() > 0.8 * plain["contrast"].median()


def test_pointers_are_named_once(tmp_path):
    run = scanned(built("22", tmp_path), tmp_path, "integrity")
    (message,) = run.findings[run.findings["kind"] == "not_images"]["message"]
    assert message == "24 of 24 files contain a Git LFS pointer instead of an image. Run git lfs pull (in CI: lfs: true)."


def test_multiband_images_are_read(tmp_path):
    run = scanned(built("31", tmp_path), tmp_path, "integrity", "listing")
    assert set(run.samples["outcome"]) == {"ok"}
    assert "scaled_values" in set(run.findings["kind"])


INPUTS = {
    **dict.fromkeys(("01", "03", "04", "05", "06", "07", "08", "09", "10", "12", "14", "16", "20", "22", "26", "28", "31"), ("",)),
    "11": ("ct", "ct8", "rgb12"),
    "13": ("data.csv",),
    "15": ("train-000.tar",),
    "21": ("cifar-10-batches-py", "classtars", "npz", "saved", "wds"),
    "23": ("data.csv",),
}
NAMED_LABELS = {"labels_from_tables", "unused_labels"}
"""Problems that say where labels are that are not read from folders, or that they are read from tables."""


@pytest.mark.parametrize(("number", "inside"), [(number, inside) for number, places in INPUTS.items() for inside in places])
def test_no_file_is_lost_without_a_finding(number, inside, tmp_path):
    """Every file below a folder is listed, or a finding is about it; every label and split that a file or folder names is read, or named."""
    place = built(number, tmp_path) / inside
    source = open_source(str(place), SourceOptions())
    table, problems = list_samples(source, lambda _: None)
    kinds = {problem.kind for problem in problems}
    assert len(table) > 0
    folder = place if place.is_dir() else place.parent
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    images = {name for name, path in files.items() if image_format(path.read_bytes()[:HEAD_BYTES])}
    refs = {unescape(ref) for ref in table["source_ref"].to_pylist()}
    if refs & {*files}:  # files of images, not of a container
        assert images <= refs or kinds & {"other_names", "hidden_image"}
    stems = {Path(name).stem for name in images}
    tables = [path for path in files.values() if path.suffix == ".csv" or (path.suffix in (".xml", ".txt", ".json") and path.stem in stems)]
    if tables and place.is_dir():
        assert kinds & NAMED_LABELS


def test_every_case_is_among_the_inputs():
    assert {folder.name[:2] for folder in CASES.iterdir() if folder.is_dir()} == {*INPUTS}
