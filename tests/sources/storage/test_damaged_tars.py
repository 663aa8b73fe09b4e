"""Corrupt tars: listing continues after the damage, and the run reports what could not be listed."""

import gzip
import io
import json
import tarfile

import fsspec
import numpy as np
import pytest
from PIL import Image

from audit import ScanOptions, cli, scan
from audit.errors import SourceError
from audit.sources import open_source

BLOCK = 512


def png(value):
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(value).integers(0, 256, (20, 20, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


NAMES = [f"{label}/{number}.png" for label in ("ant", "bee") for number in range(5)]


def pack(names=NAMES, form=tarfile.GNU_FORMAT):
    """Return a tar and the byte where each member's header starts."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for at, name in enumerate(names):
            member = tarfile.TarInfo(name)
            data = png(at)
            member.size, member.mtime = len(data), 1_700_000_000
            archive.addfile(member, io.BytesIO(data))
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as archive:
        return out.getvalue(), [member.offset for member in archive]


def listed(tmp_path, data, name="a.tar"):
    (tmp_path / name).write_bytes(data)
    source = open_source(str(tmp_path / name))
    return {sample.sample_id: source.read(sample.source_ref) for sample in source.collect()}, [
        problem for problem in source.problems if problem.kind != "assumed_layout"
    ]


def over(data, start, stop, byte):
    return data[:start] + byte * (stop - start) + data[stop:]


@pytest.mark.parametrize("byte", [b"\xff", b"\0"], ids=["overwritten", "zeroed"])
@pytest.mark.parametrize("lost", [0, 3, 9])
def test_corrupt_header_loses_one_file(tmp_path, byte, lost):
    data, starts = pack()
    found, problems = listed(tmp_path, over(data, starts[lost], starts[lost] + BLOCK, byte))
    assert found == {name: png(at) for at, name in enumerate(NAMES) if at != lost}
    (problem,) = problems
    assert (problem.kind, problem.severity) == ("not_listed", "error")
    assert (problem.evidence["start"], problem.evidence["places"]) == (starts[lost], 1)
    if lost < 9:
        assert problem.evidence["bytes"] == starts[lost + 1] - starts[lost]


def test_several_gaps_are_one_problem(tmp_path):
    data, starts = pack()
    for lost in (2, 7):
        data = over(data, starts[lost] + 100, starts[lost] + 300, b"x")
    found, problems = listed(tmp_path, data)
    assert len(found) == 8
    assert [problem.evidence["places"] for problem in problems] == [2]
    assert f"in 2 gaps, the first at byte {starts[2]:,}; recreate the archive" in problems[0].message


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_corrupt_header_after_a_long_name_header(tmp_path, form):
    names = [f"ant/{'long-' * 30}{number}.png" for number in range(3)]
    data, starts = pack(names, form)
    found, problems = listed(tmp_path, over(data, starts[1] + 2 * BLOCK, starts[1] + 3 * BLOCK, b"\xff"))
    assert set(found) == {names[0], names[2]}
    assert [problem.kind for problem in problems] == ["not_listed"]


def test_listing_continues_in_a_gzipped_tar(tmp_path):
    data, starts = pack()
    found, problems = listed(tmp_path, gzip.compress(over(data, starts[4], starts[4] + BLOCK, b"\xff")), "a.tar.gz")
    assert len(found) == 9
    assert [problem.kind for problem in problems] == ["not_listed"]


def test_padding_is_not_a_problem(tmp_path):
    data, _ = pack()
    assert listed(tmp_path, data)[1] == []
    assert listed(tmp_path, data.rstrip(b"\0").ljust(1 << 19, b"\0"))[1] == []


def test_reports_unfinished_preallocated_download(tmp_path):
    data, starts = pack()
    found, problems = listed(tmp_path, data[: starts[5]] + bytes(2 << 20))
    assert len(found) == 5
    assert [problem.evidence["bytes"] for problem in problems] == [2 << 20]


def test_reports_tar_truncated_between_files(tmp_path):
    data, starts = pack()
    found, problems = listed(tmp_path, data[: starts[5]])
    assert len(found) == 5
    assert [(problem.kind, problem.severity) for problem in problems] == [("no_end_mark", "warning")]


def test_members_after_the_end_mark_are_listed_and_reported(tmp_path):
    found, problems = listed(tmp_path, pack(NAMES[:5])[0] + pack(NAMES[5:])[0])
    assert set(found) == set(NAMES)
    assert [problem.kind for problem in problems] == ["behind_end_mark"]


def test_images_of_a_corrupt_class_tar_are_not_listed_in_the_outer_tar(tmp_path):
    inner = {label: pack([f"{label}_{number}.JPEG" for number in range(3)])[0] for label in ("n01440764", "n01443537")}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for label, data in inner.items():
            member = tarfile.TarInfo(f"{label}.tar")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    (tmp_path / "ILSVRC2012_img_train.tar").write_bytes(b"\xff" * BLOCK + out.getvalue()[BLOCK:])
    source = open_source(str(tmp_path))
    assert {sample.sample_id for sample in source.collect()} == {f"train/n01443537/n01443537_{number}.JPEG" for number in range(3)}
    assert [problem.evidence["start"] for problem in source.problems] == [0]


def test_refuses_file_that_is_not_a_tar(tmp_path):
    with pytest.raises(SourceError, match="is not a readable tar"):
        listed(tmp_path, np.random.default_rng(0).bytes(3 << 20))


def test_reports_unlistable_remote_folder(monkeypatch):
    files = fsspec.filesystem("memory")
    for name in NAMES:
        files.pipe_file(f"/half-listed/{name}", png(0))
    listing = type(files).ls

    def ls(self, path, **more):
        if path.endswith("bee"):
            raise PermissionError("403 for bee")
        return listing(self, path, **more)

    monkeypatch.setattr(type(files), "ls", ls)
    source = open_source("memory://half-listed")
    assert len(list(source.collect())) == 5
    assert [problem.kind for problem in source.problems if problem.kind != "assumed_layout"] == ["not_listed"]
    assert "403 for bee" in source.problems[0].message
    files.rm("/half-listed", recursive=True)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    data, starts = pack()
    (folder / "a.tar").write_bytes(over(data, starts[4], starts[4] + BLOCK, b"\xff"))
    options = ScanOptions(backbone="embedded", device="cpu", workers=1, only=("integrity", "listing"))
    return scan(folder / "a.tar", folder / "run", options=options)


def test_run_reports_what_was_not_listed(damaged):
    counts = damaged.record["counts"]
    assert (counts["listed"], counts["failed"]) == (9, 0)
    (finding,) = damaged.findings.to_dict("records")
    assert (finding["check"], finding["kind"], finding["subject"], finding["severity"]) == ("listing", "not_listed", "dataset", "error")
    assert damaged.not_listed == [finding["message"]]


def test_require_readable_fails(damaged, tmp_path, capsys):
    (tmp_path / "p.toml").write_text("[require]\nreadable = true\n")
    assert cli.invoke(["check", str(damaged.path), "--policy", str(tmp_path / "p.toml")]) == 1
    assert "could not be listed from byte" in capsys.readouterr().out


@pytest.mark.parametrize("target", ["run", "archive"])
def test_refuses_to_lock(damaged, tmp_path, capsys, target):
    location = damaged.path if target == "run" else damaged.path.parent / "a.tar"
    assert cli.invoke(["lock", str(location), "--out", str(tmp_path / "audit.lock")]) == 2
    assert "cannot be locked" in capsys.readouterr().err
    assert not (tmp_path / "audit.lock").exists()


def test_new_corruption_of_the_same_images_reruns_the_check(damaged, tmp_path):
    archive = tmp_path / "a.tar"
    whole, starts = pack()
    options = ScanOptions(backbone="embedded", device="cpu", workers=1, only=("listing",))
    archive.write_bytes(whole[: starts[9]])
    before = scan(archive, tmp_path / "run", options=options).findings["kind"].tolist()
    archive.write_bytes(over(whole, starts[9], starts[9] + BLOCK, b"\xff"))
    again = scan(archive, tmp_path / "run", options=options)
    assert before == ["no_end_mark"]
    assert again.findings["kind"].tolist() == ["not_listed"]
    assert json.loads(again.findings["evidence"][0])["start"] == starts[9]
