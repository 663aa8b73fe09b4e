import gzip
import io
import os
import tarfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from audit.errors import SourceError
from audit.sources import SourceOptions, open_source
from audit.sources.annotations.layout import detect_layout
from audit.sources.storage.names import escape, safe_relative, sample_id, unescape
from audit.sources.webdataset import expand_braces


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
    return {s.sample_id: (s.split, s.label) for s in source.collect()}


def test_class_folders_with_split_names():
    assert not detect_layout(["train", "plane"]).has_splits
    assert detect_layout(["Train/cat", "VAL/cat"]).read("Train/cat/deep/1.png")[:3] == ("Train/cat/deep/1.png", "Train", "cat")
    assert detect_layout(["cat", "dog"]).read("cat/1.png")[:3] == ("cat/1.png", None, "cat")


@pytest.mark.parametrize(
    ("folders", "reported"),
    [
        (["train/cat", "north/cat"], True),
        (["train", "val", "plane"], True),
        (["train", "plane"], False),
        (["train/cat", "val/cat"], False),
        (["cat", "dog"], False),
    ],
)
def test_reports_splits_read_as_classes(tmp_path, folders, reported):
    for number, folder in enumerate(folders):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / f"{number}.png").write_bytes(b"x")
    source = open_source(str(tmp_path))
    list(source.collect())
    assert [problem.kind for problem in source.problems] == ["splits_as_classes"] * reported


@pytest.mark.parametrize(
    ("folders", "empty", "expected"),
    [
        (
            ["train/cat", "val/cat"],
            ["train/void", "test/void", "test", "notes/void", "train/cat/deep"],
            [("empty_classes", ["test/void", "train/void"])],
        ),
        (["photos/cat", "photos/dog"], ["photos/void", "other/void", "notes"], [("empty_classes", ["photos/void"])]),
        (["cat", "dog"], ["void"], [("empty_classes", ["void"])]),
        (["."], ["void"], []),
        (["train/cat", "val/cat"], ["test", "notes"], [("empty_splits", ["test"])]),
        (["pets/train/cat"], ["pets/test", "pets/train/void"], [("empty_classes", ["pets/train/void"]), ("empty_splits", ["pets/test"])]),
        (["cat", "dog"], ["test"], [("empty_classes", ["test"])]),
    ],
)
def test_reports_empty_class_and_split_folders(tmp_path, folders, empty, expected):
    for folder in (*folders, *empty):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for folder in folders:
        (tmp_path / folder / "1.png").write_bytes(b"x")
    for folder in empty:
        (tmp_path / folder / ".keep").touch()
    source = open_source(str(tmp_path))
    list(source.collect())
    assert [(problem.kind, problem.evidence["names"]) for problem in source.problems] == expected
    assert {problem.severity for problem in source.problems} <= {"info"}


def test_folder_with_other_files_is_not_empty(tmp_path):
    for name in ("cat/1.png", "dog/1.png", "annotations/all.json"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    source = open_source(str(tmp_path))
    list(source.collect())
    assert (source.problems, source.ignored) == ([], {".json": 1})


@settings(deadline=None)
@given(st.lists(st.lists(st.text("ab/.é", min_size=1).filter(lambda t: "/" not in t), max_size=4).map("/".join), min_size=1))
def test_layout_keeps_names_unique(folders):
    layout = detect_layout(folders)
    placed = {layout.read(f"{folder}/x.png".lstrip("/"))[0] for folder in set(folders)}
    assert len(placed) == len(set(folders))


@settings(deadline=None)
@given(st.binary(max_size=30))
def test_any_bytes_become_a_valid_id_and_a_reversible_reference(data):
    path = data.decode("utf-8", "surrogateescape")
    sample_id(path).encode()
    escape(path).encode()
    assert unescape(escape(path)) == path
    safe = safe_relative(path)
    assert safe is None or not {"", ".", ".."} & set(safe.split("/"))


def test_hostile_tar_members_are_ignored(tmp_path):
    out = io.BytesIO(
        pack({"../out.png": png(), "/abs.png": png(), "cat/a.png": png(1), "dog/b.png": png(2), "cat/.DS_Store": b"", "cat/note.txt": b""})
    )
    with tarfile.open(fileobj=out, mode="a") as archive:
        link = tarfile.TarInfo("cat/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    (tmp_path / "x.tar").write_bytes(out.getvalue())
    source = open_source(str(tmp_path / "x.tar"))
    assert set(listed(source)) == {"cat/a.png", "dog/b.png"}
    assert source.ignored == {"(unsafe path)": 2, "(link)": 1, "(hidden)": 1, ".txt": 1}


def test_truncated_tar_is_listed_and_reported(tmp_path):
    data = pack({f"c{i}/a.png": png(i) for i in range(4)})
    (tmp_path / "x.tar").write_bytes(data[:2600])
    source = open_source(str(tmp_path / "x.tar"))
    assert 2 <= len(listed(source)) < 4
    assert [problem.kind for problem in source.problems] == ["not_listed"]
    assert "is truncated at byte" in source.problems[0].message
    (tmp_path / "y.tar").write_bytes(b"not a tar" * 200)
    with pytest.raises(SourceError, match="is not a readable tar"):
        listed(open_source(str(tmp_path / "y.tar")))


def test_symlink_loops_and_odd_names(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "dog").mkdir()
    (tmp_path / "cat" / "new\nline é.png").write_bytes(png())
    (tmp_path / "dog" / os.fsdecode(b"\xff%41.png")).write_bytes(png(9))
    (tmp_path / "cat" / "loop").symlink_to(tmp_path)
    (tmp_path / "dog" / "gone.png").symlink_to(tmp_path / "nowhere")
    source = open_source(str(tmp_path))
    refs = {s.sample_id: s.source_ref for s in source.collect()}
    assert set(refs) == {"cat/new\nline é.png", "dog/\\xff%41.png", "dog/gone.png"}
    assert source.read(refs["dog/\\xff%41.png"]) == png(9)
    with pytest.raises(FileNotFoundError):
        source.read(refs["dog/gone.png"])


def test_tiny_imagenet(tmp_path):
    for name in ("train/n01440764/images/n01440764_0.JPEG", "val/images/val_0.JPEG", "test/images/test_0.JPEG"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(png())
    (tmp_path / "val/val_annotations.txt").write_text("val_0.JPEG\tn01440764\t0\t0\t9\t9\n")
    (tmp_path / "words.txt").write_text("n01440764\ta fish\n")
    source = open_source(str(tmp_path))
    assert listed(source) == {
        "train/n01440764/images/n01440764_0.JPEG": ("train", "n01440764"),
        "val/images/val_0.JPEG": ("val", "n01440764"),
        "test/images/test_0.JPEG": ("test", None),
    }
    assert source.class_words(["n01440764"]) == {"n01440764": "a fish"}


def test_ilsvrc_as_distributed(tmp_path):
    inner = pack({"n01440764_1.JPEG": png(7)})
    (tmp_path / "ILSVRC2012_img_train.tar").write_bytes(pack({"n01440764.tar": inner, "n01443537.tar": pack({"n01443537_2.JPEG": png(8)})}))
    (tmp_path / "ILSVRC2012_img_val.tar").write_bytes(pack({"ILSVRC2012_val_00000001.JPEG": png(9)}))
    (tmp_path / "LOC_val_solution.csv").write_text("ImageId,PredictionString\nILSVRC2012_val_00000001,n01443537 1 2 3 4\n")
    source = open_source(str(tmp_path))
    assert listed(source) == {
        "train/n01440764/n01440764_1.JPEG": ("train", "n01440764"),
        "train/n01443537/n01443537_2.JPEG": ("train", "n01443537"),
        "val/ILSVRC2012_val_00000001.JPEG": ("val", "n01443537"),
    }
    refs = {s.sample_id: s.source_ref for s in source.collect()}
    assert source.read(refs["train/n01443537/n01443537_2.JPEG"]) == png(8)


def test_flat_folder_with_a_label_file(tmp_path):
    images = tmp_path / "flat"
    images.mkdir()
    for name in ("a.png", "b.png"):
        (images / name).write_bytes(png())
    labels = tmp_path / "labels.csv"
    labels.write_text("file,label,split\na.png,cat,train\ngone.png,dog,val\n")
    source = open_source(str(images), SourceOptions(labels_file=str(labels)))
    assert listed(source) == {"a.png": ("train", "cat"), "b.png": (None, None), "gone.png": ("val", "dog")}
    labels.write_text("file,label,split\na.png,cat,vaal\n")
    with pytest.raises(SourceError, match=r"labels.csv:2: unknown split 'vaal'"):
        listed(source)


def test_manifest_errors_name_column_and_line(tmp_path):
    table = tmp_path / "m.csv"
    table.write_text("path,label\na.png,cat\nb.png\n")
    with pytest.raises(SourceError, match=r"m.csv:3: 1 cell, but the header has 2"):
        listed(open_source(str(table)))
    with pytest.raises(SourceError, match="did you mean 'label'"):
        listed(open_source(str(table), SourceOptions(label_column="lable")))


def test_braces():
    assert expand_braces("t-{08..10}-{a,b}.tar")[:3] == ["t-08-a.tar", "t-08-b.tar", "t-09-a.tar"]


def test_ilsvrc_val_tar_with_the_devkit(tmp_path):
    meta = io.BytesIO()
    synsets = np.zeros((2, 1), dtype=[("ILSVRC2012_ID", object), ("WNID", object)])
    synsets[:, 0] = [(1, "n01440764"), (2, "n01443537")]
    savemat(meta, {"synsets": synsets})
    devkit = {"kit/data/meta.mat": meta.getvalue(), "kit/data/ILSVRC2012_validation_ground_truth.txt": b"2\n1\n"}
    (tmp_path / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(gzip.compress(pack(devkit)))
    (tmp_path / "ILSVRC2012_img_val.tar").write_bytes(pack({f"ILSVRC2012_val_0000000{i}.JPEG": png(i) for i in (1, 2)}))
    labels = {name[-6]: label for name, (_, label) in listed(open_source(str(tmp_path / "ILSVRC2012_img_val.tar"))).items()}
    assert labels == {"1": "n01443537", "2": "n01440764"}
