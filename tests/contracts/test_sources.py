"""The same dataset in every storage format has the same samples, bytes and guarantees."""

import io
import json
import pickle
import tarfile
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from audit.errors import SourceError
from audit.sources import SourceOptions, find_kinds, open_source


def png(value: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (4, 4), (value, 0, 255 - value)).save(out, "PNG")
    return out.getvalue()


FILES = {
    f"{split}/{label}/{i}.png": png(40 * i + len(label) + len(split)) for split in ("train", "val") for label in ("cat", "horse") for i in range(3)
}


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), 1_700_000_000
            archive.addfile(member, io.BytesIO(data))
    return path


def write_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def as_manifest(tmp: Path) -> Path:
    write_folder(tmp, FILES)
    rows = ["path,label,split"] + [f"{name},{name.split('/')[1]},{name.split('/')[0]}" for name in FILES]
    (tmp / "all.csv").write_text("\n".join(rows))
    return tmp / "all.csv"


def as_huggingface(tmp: Path) -> Path:
    names = ["cat", "horse"]
    features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
    for split in ("train", "val"):
        mine = {name: data for name, data in FILES.items() if name.startswith(split)}
        image = pa.array([{"bytes": data, "path": name} for name, data in mine.items()])
        table = pa.table({"image": image, "label": [names.index(name.split("/")[1]) for name in mine]})
        pq.write_table(
            table.replace_schema_metadata({"huggingface": json.dumps(features)}), tmp / f"{split}-00000-of-00001.parquet", row_group_size=2
        )
    return tmp


def as_webdataset(tmp: Path) -> Path:
    for split in ("train", "val"):
        files = {}
        for name, data in FILES.items():
            if name.startswith(split):
                key = name.removeprefix(split + "/").removesuffix(".png")
                files |= {f"{key}.png": data, f"{key}.cls": name.split("/")[1].encode()}
        write_tar(tmp / f"{split}.tar", files)
    return tmp


FORMATS = {
    "folder": lambda tmp: write_folder(tmp / "set", FILES),
    "wrapped folder": lambda tmp: write_folder(tmp / "set", {f"top/{name}": data for name, data in FILES.items()}),
    "tar": lambda tmp: write_tar(tmp / "a.tar", FILES),
    "wrapped tar": lambda tmp: write_tar(tmp / "a.tar", {f"./top/{name}": data for name, data in FILES.items()}),
    "gzipped tar": lambda tmp: write_tar(tmp / "a.tar.gz", FILES, "w:gz"),
    "manifest": as_manifest,
    "huggingface": as_huggingface,
    "webdataset": as_webdataset,
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_the_same_samples(name, tmp_path):
    location = FORMATS[name](tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    source = open_source(str(location))
    samples = list(source.collect())
    assert {s.sample_id: (s.split, s.label) for s in samples} == {name: tuple(name.split("/")[:2]) for name in FILES}
    assert len({s.sample_id for s in samples}) == len(samples)
    assert samples == list(source.collect())
    again = pickle.loads(pickle.dumps(source))
    for reader in (source, again):
        assert {s.sample_id: reader.read(s.source_ref) for s in samples} == FILES
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert all((s.sample_id + s.source_ref + s.fingerprint).encode() for s in samples)


def test_kinds_are_discovered_and_unknown_ones_refused(tmp_path):
    assert {"folder", "tar", "ilsvrc", "manifest", "huggingface", "webdataset"} <= set(find_kinds())
    with pytest.raises(SourceError, match="did you mean 'folder'"):
        open_source(str(tmp_path), SourceOptions(kind="foldr"))


def test_refuses_missing_path_and_folder_without_images(tmp_path):
    with pytest.raises(SourceError, match="no such file or folder"):
        open_source(str(tmp_path / "nope"))
    with pytest.raises(SourceError, match="contains no images"):
        list(open_source(str(tmp_path)).collect())


def test_memory_filesystem():
    files = fsspec.filesystem("memory")
    for name, data in FILES.items():
        files.pipe_file(f"/sources-set/{name}", data)
    source = open_source("memory://sources-set")
    assert {s.sample_id: source.read(s.source_ref) for s in source.collect()} == FILES
    files.rm("/sources-set", recursive=True)
