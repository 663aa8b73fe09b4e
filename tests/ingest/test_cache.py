"""The cache by content: same results as measuring; corruption costs only time."""

import hashlib
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import audit
from audit import ScanOptions
from audit.errors import ConfigError
from audit.ingest import chunks as ingest
from audit.ingest import workers
from audit.ingest.chunks import decode

OPTIONS = {"backbone": "embedded", "offline": True}
QUICK = {"only": ("integrity",)}


def dataset(folder, count=12):
    for number in range(count):
        label = folder / "train" / ("ant", "bee")[number % 2]
        label.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (6, 6, 3), np.uint8)
        Image.fromarray(pixels).resize((48, 40)).save(label / f"{number:03}.png")
    (folder / "train/ant/broken.png").write_bytes((folder / "train/ant/000.png").read_bytes()[:200])
    return folder


def scan(data, out, cache, notes=None, **more):
    class Notes:
        def stage(self, name, total):
            pass

        advance = note = None

    observer = Notes()
    observer.advance = lambda count: None
    observer.note = (notes if notes is not None else []).append
    return audit.scan(
        data, out, options=ScanOptions(**{**OPTIONS, **(more or QUICK)}, cache=None if cache is None else str(cache)), observer=observer
    )


def decoded(run):
    return run.record["stages"]["ingest"]["decoded"]


def files(run):
    return {path.relative_to(run).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((run / "findings").glob("*.parquet"))}


def shards(cache):
    return sorted(cache.glob("*/*.parquet"))


def same_tables(first, second, *, names=True):
    columns = [name for name in first.samples.columns if names or name not in ("sample_id", "source_ref", "fingerprint")]
    pd.testing.assert_frame_equal(first.samples[columns], second.samples[columns])
    assert np.array_equal(first.embeddings, second.embeddings, equal_nan=True)
    assert np.array_equal(first.thumbnails, second.thumbnails)


def test_fresh_checkout_decodes_only_new_images(tmp_path):
    data, cache = dataset(tmp_path / "data"), tmp_path / "shared" / "cache"
    scan(data, tmp_path / "first", cache)
    shutil.copytree(data, tmp_path / "checkout", copy_function=shutil.copyfile)  # new modification times
    Image.new("RGB", (30, 30), (9, 90, 200)).save(tmp_path / "checkout/train/bee/new.png")
    run = scan(tmp_path / "checkout", tmp_path / "second", cache, seed=0)
    assert decoded(run) == 1
    fresh = scan(tmp_path / "checkout", tmp_path / "fresh", None, seed=0)
    assert decoded(fresh) == len(fresh) == 14
    same_tables(run, fresh)
    assert files(tmp_path / "second") == files(tmp_path / "fresh")


def test_renamed_class_is_not_decoded_again_without_a_cache(tmp_path):
    data = dataset(tmp_path / "data")
    scan(data, tmp_path / "run", None)
    (data / "train/ant").rename(data / "train/emmet")
    for path in (data / "train/emmet").iterdir():
        os.utime(path, ns=(1, 1))
    run = scan(data, tmp_path / "run", None)
    assert (run.record["stages"]["ingest"]["read"], decoded(run)) == (7, 0)
    fresh = scan(data, tmp_path / "fresh", None)
    same_tables(run, fresh)
    assert files(tmp_path / "run") == files(tmp_path / "fresh")


def test_corrupt_run_does_not_fill_the_cache(tmp_path):
    data, cache = dataset(tmp_path / "data"), tmp_path / "cache"
    scan(data, tmp_path / "run", None)
    array, notes = tmp_path / "run/embeddings.npy", []
    content, when = bytearray(array.read_bytes()), array.stat()
    content[200:4200] = np.random.default_rng(0).bytes(4000)
    array.write_bytes(content)
    os.utime(array, ns=(when.st_atime_ns, when.st_mtime_ns))
    scan(data, tmp_path / "run", cache, notes)
    assert f"{array}: corrupt: content differs from what was written; recomputing it" in notes
    fresh = scan(data, tmp_path / "fresh", None)
    same_tables(scan(data, tmp_path / "from-cache", cache), fresh)


def test_old_run_fills_a_new_cache_once(tmp_path):
    data, cache = dataset(tmp_path / "data"), tmp_path / "cache"
    notes = []
    scan(data, tmp_path / "run", None)
    scan(data, tmp_path / "run", cache, notes)
    assert any("13 images added" in note for note in notes)
    before = {path: path.read_bytes() for path in shards(cache)}
    scan(data, tmp_path / "run", cache)
    scan(data, tmp_path / "other", cache)
    assert {path: path.read_bytes() for path in shards(cache)} == before


def test_plans_do_not_share_rows(tmp_path):
    data, cache = dataset(tmp_path / "data"), tmp_path / "cache"
    scan(data, tmp_path / "run", cache)
    options = ScanOptions(**OPTIONS, **QUICK, cache=str(cache), max_pixels=1_000_000)
    assert decoded(audit.scan(data, tmp_path / "other", options=options)) == 13
    assert len({path.parent for path in shards(cache)}) == 2


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "foreign", "gone"])
def test_corrupt_shard_costs_only_time(tmp_path, damage):
    data, cache = dataset(tmp_path / "data"), tmp_path / "cache"
    whole = scan(data, tmp_path / "run", cache)
    (shard,) = shards(cache)
    content = shard.read_bytes()
    at = len(content) // 3  # in the pixels
    changed = {
        "truncated": content[:at],
        "flipped": content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :],
        "empty": b"",
        "foreign": None,
        "gone": None,
    }[damage]
    if damage == "foreign":
        pd.DataFrame({"content_id": ["ab" * 32]}).to_parquet(shard)
    elif changed is None:
        shard.unlink()
    else:
        shard.write_bytes(changed)
    notes = []
    again = scan(data, tmp_path / "again", cache, notes)
    assert decoded(again) == 13
    same_tables(again, whole)
    assert files(tmp_path / "again") == files(tmp_path / "run")
    assert (sum(str(shard) in note and "read again" in note for note in notes) == 1) == (damage != "gone")
    assert shards(cache) == [shard]
    assert decoded(scan(data, tmp_path / "third", cache)) == 0


def test_missing_image_is_tried_again(tmp_path):
    data, cache = dataset(tmp_path / "data"), tmp_path / "cache"
    (data / "train/ant/gone.png").symlink_to(tmp_path / "nowhere")
    scan(data, tmp_path / "run", cache)
    dataset(tmp_path / "nowhere-else", 1)
    (data / "train/ant/gone.png").unlink()
    Image.new("RGB", (30, 30), (9, 90, 200)).save(data / "train/ant/gone.png")
    assert decoded(scan(data, tmp_path / "other", cache)) == 1


def test_workers_do_not_decode_cached_images(tmp_path, monkeypatch):
    data, cache = dataset(tmp_path / "data"), tmp_path / "cache"
    scan(data, tmp_path / "run", cache)
    monkeypatch.setattr(workers, "_PROCESSES_PAY_FROM", 1)
    run = scan(data, tmp_path / "other", cache)
    assert decoded(run) == 0

    def refuse(*_, **__):
        raise AssertionError("decoded")

    monkeypatch.setattr(workers, "_PROCESSES_PAY_FROM", 256)
    monkeypatch.setattr(ingest, "decode", refuse)
    assert decode is not refuse
    same_tables(scan(data, tmp_path / "third", cache), run)


def test_a_cache_behind_a_url(tmp_path):
    import fsspec

    data = dataset(tmp_path / "data")
    location = "memory://cache-of-images"
    scan(data, tmp_path / "run", location)
    assert fsspec.filesystem("memory").glob("/cache-of-images/*/*.parquet")
    assert decoded(scan(data, tmp_path / "other", location)) == 0


def test_invalid_location_is_refused_and_full_disk_is_noted(tmp_path, monkeypatch):
    data = dataset(tmp_path / "data")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"--cache .*file/deeper.*pass a writable folder or URL"):
        scan(data, tmp_path / "run", tmp_path / "file" / "deeper")
    with pytest.raises(ConfigError, match="--cache nosuch://place: Protocol not known"):
        scan(data, tmp_path / "run", "nosuch://place", offline=False)

    from audit.ingest import cache as image_cache

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_cache, "replacing", full)
    notes = []
    scan(data, tmp_path / "run", tmp_path / "cache", notes)
    assert any("cannot be written" in note and "No space left" in note for note in notes)
    assert not shards(tmp_path / "cache")
