"""Datasets in tars as distributed: read in place, remotely, and by many threads."""

import io
import tarfile
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest
from PIL import Image

from audit.errors import SourceError
from audit.ingest.listing import list_samples
from audit.sources import SourceOptions, open_source


def png(value=0):
    out = io.BytesIO()
    Image.new("L", (3, 3), value).save(out, "PNG")
    return out.getvalue()


def pack(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def listed(source):
    return {sample.sample_id: (sample.split, sample.label) for sample in source.collect()}


TINY = {
    "tiny-imagenet-200/train/n01440764/images/n01440764_0.JPEG": png(1),
    "tiny-imagenet-200/val/images/val_0.JPEG": png(2),
    "tiny-imagenet-200/val/val_annotations.txt": b"val_0.JPEG\tn01440764\t0\t0\t9\t9\n",
    "tiny-imagenet-200/test/images/test_0.JPEG": png(3),
}


def test_tiny_imagenet_in_a_tar(tmp_path):
    (tmp_path / "tiny.tar").write_bytes(pack(TINY))
    assert listed(open_source(str(tmp_path / "tiny.tar"))) == {
        "train/n01440764/images/n01440764_0.JPEG": ("train", "n01440764"),
        "val/images/val_0.JPEG": ("val", "n01440764"),
        "test/images/test_0.JPEG": ("test", None),
    }


def test_imagenet_in_kaggle_layout(tmp_path):
    for name, data in {
        "ILSVRC/Data/CLS-LOC/train/n01440764/n01440764_1.JPEG": png(1),
        "ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_00000001.JPEG": png(2),
        "ILSVRC/Data/CLS-LOC/test/ILSVRC2012_test_00000001.JPEG": png(3),
        "LOC_val_solution.csv": b"ImageId,PredictionString\nILSVRC2012_val_00000001,n01443537 1 2 3 4\n",
        "LOC_synset_mapping.txt": b"n01440764 tench, Tinca tinca\nn01443537 goldfish\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    source = open_source(str(tmp_path))
    assert listed(source) == {
        "train/n01440764/n01440764_1.JPEG": ("train", "n01440764"),
        "val/ILSVRC2012_val_00000001.JPEG": ("val", "n01443537"),
        "test/ILSVRC2012_test_00000001.JPEG": ("test", None),
    }
    assert source.class_words(["n01443537", "n01440764"]) == {"n01440764": "tench, Tinca tinca", "n01443537": "goldfish"}


def test_truncated_class_tar_affects_only_that_class(tmp_path):
    whole = pack({f"n01440764_{i}.JPEG": png(i) for i in range(4)})
    last = pack({"n01443537_0.JPEG": png(9)})
    (tmp_path / "ILSVRC2012_img_train.tar").write_bytes(pack({"n01440764.tar": whole[:2000], "n01443537.tar": last}))
    source = open_source(str(tmp_path))
    found = listed(source)
    assert "train/n01443537/n01443537_0.JPEG" in found
    assert 1 <= sum(label == "n01440764" for _, label in found.values()) < 4
    assert "n01440764.tar is truncated at byte" in source.problems[0].message


def test_stray_archive_does_not_hide_a_folder_of_images(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").write_bytes(png())
    (tmp_path / "backup.tar").write_bytes(pack({"0.png": png(), "0.cls": b"cat"}))
    source = open_source(str(tmp_path))
    assert source.kind == "folder"
    assert list(listed(source)) == ["cat/1.png"]


SHARDED = {
    f"s-{shard}.tar": pack({f"{shard}{i}.{end}": data for i in range(30) for end, data in (("png", png(i)), ("cls", b"cat"))}) for shard in "ab"
}


@pytest.mark.parametrize("stored", ["tar", "shards", "table"])
def test_remote_locations(stored):
    files = fsspec.filesystem("memory")
    if stored == "tar":
        files.pipe_file("/remote/x.tar", pack(TINY))
        location, size = "memory://remote/x.tar", 3
    elif stored == "shards":
        for name, data in SHARDED.items():
            files.pipe_file(f"/remote/{name}", data)
        location, size = "memory://remote/s-{a,b}.tar", 60
    else:
        files.pipe_file("/remote/1.png", png())
        files.pipe_file("/remote/all.csv", b"path,label\n1.png,cat\n")
        location, size = "memory://remote/all.csv", 1
    source = open_source(location)
    samples = list(source.collect())
    assert len(samples) == size
    assert all(source.read(sample.source_ref).startswith(b"\x89PNG") for sample in samples)
    files.rm("/remote", recursive=True)


def test_reports_missing_shards(tmp_path):
    for name, data in SHARDED.items():
        (tmp_path / name).write_bytes(data)
    source = open_source(str(tmp_path / "s-{a,b,c,d}.tar"))
    assert len(list(source.collect())) == 60
    assert [(problem.kind, problem.evidence) for problem in source.problems] == [("not_listed", {"entries": 2, "names": ["s-c.tar", "s-d.tar"]})]
    source = open_source(str(tmp_path / "s-{a,b}.tar"))
    list(source.collect())
    assert source.problems == []


@pytest.mark.parametrize(("held", "misspelt"), [({"label_column": "species"}, "specis"), ({"split_column": "part"}, "partt")])
def test_refuses_label_or_split_column_missing_from_all_shards(tmp_path, held, misspelt):
    (tmp_path / "s.tar").write_bytes(pack({"0.png": png(), "0.json": b'{"species": "cat", "part": "val"}'}))
    assert list(listed(open_source(str(tmp_path / "s.tar"), SourceOptions(kind="webdataset", **held)))) == ["s/0.png"]
    options = SourceOptions(kind="webdataset", **dict.fromkeys(held, misspelt))
    with pytest.raises(SourceError, match=f"did you mean '{next(iter(held.values()))}'"):
        listed(open_source(str(tmp_path / "s.tar"), options))


def test_concurrent_reads_of_one_source(tmp_path):
    for name, data in SHARDED.items():
        (tmp_path / name).write_bytes(data)
    source = open_source(str(tmp_path))
    samples = list(source.collect()) * 10
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(source.read, [sample.source_ref for sample in samples]))
    assert read == [png(int(sample.sample_id.rpartition("/")[2][1:-4])) for sample in samples]


def test_later_of_two_members_with_one_name_is_used(tmp_path):
    (tmp_path / "a.tar").write_bytes(pack({"cat/1.png": png(1), "dog/2.png": png(2)}))
    with tarfile.open(tmp_path / "a.tar", "a") as archive:
        member = tarfile.TarInfo("./cat/1.png")
        member.size = len(png(9))
        archive.addfile(member, io.BytesIO(png(9)))
    source = open_source(str(tmp_path / "a.tar"))
    table, problems = list_samples(source, lambda _: None)
    assert {row["sample_id"]: source.read(row["source_ref"]) for row in table.to_pylist()} == {"cat/1.png": png(9), "dog/2.png": png(2)}
    assert [(problem.kind, problem.evidence) for problem in problems] == [("listed_twice", {"entries": 1})]
    assert "'cat/1.png'" in problems[0].message


def test_invalid_json_members_lose_only_their_metadata(tmp_path):
    files = {"1.png": png(1), "1.json": b'{"label": "cat", "split": "val"}', "2.png": png(2), "2.json": b"{", "3.png": png(3), "3.json": b"[]"}
    (tmp_path / "s-0.tar").write_bytes(pack({**files, "3.cls": b"dog"}))
    source = open_source(str(tmp_path / "s-0.tar"))
    assert listed(source) == {"s-0/1.png": ("val", "cat"), "s-0/2.png": (None, None), "s-0/3.png": (None, "dog")}
    assert [(problem.kind, problem.evidence) for problem in source.problems] == [("unread_metadata", {"entries": 2})]
    assert source.problems[0].message.startswith("no JSON object in 2 members: ")
    assert "s-0.tar/2.json" in source.problems[0].message


def test_contradicting_labels_of_one_key_name_both_offsets(tmp_path):
    first, second = pack({"1.png": png(1), "1.cls": b"cat", "2.png": png(2), "2.cls": b"cat"}), pack({"1.png": png(1), "1.cls": b"dog"})
    (tmp_path / "s-0.tar").write_bytes(first.rstrip(b"\0") + bytes(-len(first.rstrip(b"\0")) % 512) + second)
    with pytest.raises(SourceError, match=r"lists 's-0/1\.png' with two different labels \(s-0\.tar at byte 512, s-0\.tar at byte \d+\)"):
        list_samples(open_source(str(tmp_path / "s-0.tar")), lambda _: None)
