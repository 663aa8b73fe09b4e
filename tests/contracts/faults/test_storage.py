"""Full disk, lost network, two scans in one directory: each is a one-line error, and the next scan resumes."""

import dataclasses
import os
import pickle
import resource
import subprocess
import sys

import fsspec
import pandas as pd
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

import audit
from audit import ScanOptions
from audit.errors import SourceError

OPTIONS = ScanOptions(backbone="embedded-small", device="cpu", offline=True)
ONLINE = dataclasses.replace(OPTIONS, offline=False)


def facts(run):
    return run.findings.sort_values("finding_id").reset_index(drop=True)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 6 MB, if this machine allows to mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.slow
def test_full_disk_is_one_line_and_the_scan_resumes(tmp_path, small_disk, dataset, start, tally):
    data = dataset(per_class=12)
    audit.scan(data, tmp_path / "whole", options=OPTIONS)
    size = sum(path.stat().st_size for path in (tmp_path / "whole").rglob("*"))
    free, times = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize, 0
    for share in (0.05, 0.6):
        (small_disk / "filler").write_bytes(b"x" * int(free - share * size))
        process = start("scan", data, "--out", small_disk / "run", "--backbone", "embedded-small", "--offline", "--quiet")
        _, err = process.communicate(timeout=300)
        assert process.returncode == 2, (share, err)
        assert "the disk is full" in err.strip().splitlines()[-1]
        assert "Traceback" not in err
        times += 1
    (small_disk / "filler").unlink()
    run = audit.scan(data, small_disk / "run", options=OPTIONS)
    pd.testing.assert_frame_equal(facts(run), facts(audit.open_run(tmp_path / "whole")))
    tally("the disk fills up while a scan writes", times, "one line each time; with room, the same findings")


@pytest.mark.slow
def test_file_size_limit_is_one_line(tmp_path, dataset, tally):
    """Quotas and limits make writes fail; on a full disk the reservation fails."""
    data = dataset(per_class=12)
    line = [
        sys.executable,
        "-m",
        "audit.cli",
        "scan",
        str(data),
        "--out",
        str(tmp_path / "run"),
        "--backbone",
        "embedded-small",
        "--offline",
        "--quiet",
    ]
    for limit in (2_000, 20_000, 100_000):
        done = subprocess.run(
            line,
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
            preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        )
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
    assert len(audit.scan(data, tmp_path / "run", options=OPTIONS)) == 51
    tally("a file reaches its size limit", 3, "one line each time; without the limit, the scan goes on")


class Flaky(DirFileSystem):
    """A folder behind a network that fails after some requests."""

    protocol = "flaky"
    left = 0
    cachable = False

    def __init__(self, **options):
        super().__init__(path="/", fs=LocalFileSystem())

    def _request(self):
        if Flaky.left <= 0:
            raise ConnectionResetError(104, "Connection reset by peer")
        Flaky.left -= 1

    def cat_file(self, path, start=None, end=None, **options):
        self._request()
        return super().cat_file(path, start=start, end=end, **options)

    def walk(self, path, *arguments, **options):
        for found in super().walk(path, *arguments, **options):
            self._request()
            yield found

    def info(self, path, **options):
        self._request()
        return super().info(path, **options)

    def exists(self, path, **options):
        self._request()
        return super().exists(path, **options)

    def isdir(self, path):
        self._request()
        return super().isdir(path)


@pytest.fixture
def flaky():
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    return Flaky


@pytest.mark.slow
def test_lost_network(tmp_path, flaky, dataset, tally):
    data = dataset(per_class=12)
    location = f"flaky://{data}"
    reasons: list[str] = []
    partly = 0
    for requests in (0, 3, 20, 70):
        flaky.left = requests
        run = tmp_path / f"run-{requests}"
        try:
            scanned = audit.scan(location, run, options=ONLINE)
        except SourceError as error:
            reasons.append(str(error).lower())
        else:
            counts = scanned.record["counts"]
            assert counts["listed"] == 51 == counts["scanned"] + counts["failed"]
            assert counts["outcomes"]["missing"] > 0
            partly += 1
        flaky.left = 10**9
        again = audit.scan(location, run, options=ONLINE)
        assert again.record["counts"]["outcomes"]["missing"] == 0
        assert again.record["counts"]["listed"] == 51
    whole = audit.scan(data, tmp_path / "whole", options=OPTIONS)
    pd.testing.assert_frame_equal(facts(again), facts(whole))
    assert reasons
    assert all("connection" in reason for reason in reasons)
    assert partly
    tally(
        "the network goes away under fsspec",
        len(reasons) + partly,
        f"{len(reasons)} refused while listing, {partly} finished with missing images; fixed by the next scan",
    )


@pytest.mark.slow
def test_concurrent_scans_into_one_directory(tmp_path, dataset, start, tally):
    """One of them does the work; the others are refused at once."""
    data = dataset(per_class=12)
    line = ["scan", data, "--out", tmp_path / "run", "--backbone", "embedded-small", "--offline", "--quiet"]
    processes = [start(*line) for _ in range(3)]
    ends = [(process.communicate(timeout=600)[1], process.returncode) for process in processes]
    assert [code for _, code in ends].count(0) >= 1
    for err, code in ends:
        assert code == 0 or "another scan is writing into it" in err
    run = audit.open_run(tmp_path / "run")
    assert len(run.samples) == 51 == run.samples["sample_id"].nunique()
    whole = audit.scan(data, tmp_path / "whole", options=OPTIONS)
    pd.testing.assert_frame_equal(facts(run), facts(whole))
    tally("three scans at once into one directory", 3, f"{[code for _, code in ends].count(0)} did the work, the others were refused at once")


def test_source_is_pickled_without_its_connection(flaky, dataset):
    flaky.left = 10**9
    source = audit.sources.open_source(f"flaky://{dataset(per_class=2)}")
    rows = list(source.collect())
    assert pickle.loads(pickle.dumps(source)).read(rows[0].source_ref)
