"""Lost or corrupt staging files of a killed scan: the next scan reports them, reads those images again, and has the usual result."""

import shutil

import numpy as np
import pandas as pd
import pytest

import audit

OPTIONS = audit.ScanOptions(backbone="embedded-small", device="cpu", offline=True, batch_size=2, only=("integrity", "exact_duplicates"))
IMAGES = 51
STORED = 32

DAMAGES = {
    "lost": lambda content: None,
    "empty": lambda content: b"",
    "cut short": lambda content: content[: len(content) // 3],
    "grown": lambda content: content + bytes(1000),
    "garbage": lambda content: np.random.default_rng(0).bytes(len(content)),
}


class Watcher:
    """Counts images and keeps notes; ends the scan at a given image like a kill (an interrupt would store what was read)."""

    def __init__(self, last=None):
        self.last, self.images, self.notes, self.name = last, 0, [], ""
        self.note = self.notes.append

    def stage(self, name, total):
        self.name = name

    def advance(self, count):
        self.images += count if self.name == "images" else 0
        if self.last is not None and self.images >= self.last:
            raise MemoryError


@pytest.fixture(scope="module")
def killed(tmp_path_factory, make_photo):
    """A dataset, an undisturbed run of it, and a run killed after 32 of 51 images were stored."""
    folder = tmp_path_factory.mktemp("killed")
    for number in range(IMAGES):
        path = folder / "data" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        make_photo(number).save(path)
    whole = audit.scan(folder / "data", folder / "whole", options=OPTIONS)
    with pytest.raises(MemoryError):
        audit.scan(folder / "data", folder / "killed", options=OPTIONS, observer=Watcher(last=40))
    assert [path.name for path in (folder / "killed/unfinished/segments").iterdir()] == ["000000.parquet"]
    return folder / "data", whole, folder / "killed"


def same(run, whole):
    pd.testing.assert_frame_equal(run.samples, whole.samples)
    assert np.array_equal(run.embeddings, whole.embeddings, equal_nan=True)
    assert np.array_equal(run.thumbnails, whole.thumbnails)
    pd.testing.assert_frame_equal(run.findings, whole.findings)
    assert not [path.name for path in run.path.iterdir() if path.name.startswith("unfinished")]


def damage(path, which):
    content = DAMAGES[which](path.read_bytes())
    path.unlink()
    if content is not None:
        path.write_bytes(content)


def test_resumes_killed_scan(tmp_path, killed):
    data, whole, before = killed
    run = shutil.copytree(before, tmp_path / "run")
    watcher = Watcher()
    same(audit.scan(data, run, options=OPTIONS, observer=watcher), whole)
    assert watcher.images == IMAGES - STORED


FILES = ("embeddings.npy", "thumbnails.npy", "features.npy", "segments/000000.parquet", "plan.json", "listing.parquet")


def test_truncated_array_is_not_filled_with_zeros(tmp_path, killed):
    """A file mapped for writing grows to the size in its header, so unmeasured rows would look stored."""
    data, whole, before = killed
    run = shutil.copytree(before, tmp_path / "run")
    damage(run / "unfinished/embeddings.npy", "cut short")
    watcher = Watcher()
    same(audit.scan(data, run, options=OPTIONS, observer=watcher), whole)
    assert any("embeddings.npy: corrupt: " in note and "all images of the interrupted scan are read again" in note for note in watcher.notes)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_corrupt_files_are_reported_and_read_again(tmp_path, killed, tally, name):
    data, whole, before = killed
    for which in DAMAGES:
        run = shutil.copytree(before, tmp_path / which.replace(" ", "-"))
        damage(run / "unfinished" / name, which)
        watcher = Watcher()
        same(audit.scan(data, run, options=OPTIONS, observer=watcher), whole)
        needed = name != "listing.parquet"  # the old listing; the scan has its own
        assert watcher.images == (IMAGES if needed else IMAGES - STORED), (which, watcher.notes)
        lost_segment = name.startswith("segments") and which == "lost"  # a missing segment is not an error
        assert any(name in note for note in watcher.notes) == (needed and name != "plan.json" and not lost_segment), which
    tally(f"`unfinished/{name}` of a killed scan {', '.join(DAMAGES)}", len(DAMAGES), "read again, equal to an undisturbed scan")


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_corrupt_files_with_a_changed_dataset(tmp_path, killed, tally, make_photo, name):
    data, _, before = killed
    data = shutil.copytree(data, tmp_path / "data")
    make_photo(999).save(data / "a" / "new.png")
    whole = audit.scan(data, tmp_path / "whole", options=OPTIONS)
    for which in ("lost", "cut short"):
        run = shutil.copytree(before, tmp_path / which.replace(" ", "-"))
        damage(run / "unfinished" / name, which)
        same(audit.scan(data, run, options=OPTIONS), whole)
    tally(f"`unfinished/{name}` of a killed scan lost or cut short, and the dataset changed", 2, "read again, equal to an undisturbed scan")
