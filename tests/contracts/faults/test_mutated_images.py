"""Thousands of mutated images, tars and manifests: each is listed once and has one outcome; nothing crashes or hangs."""

import io
import json
import subprocess
import sys
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import audit
from audit.errors import AuditError
from audit.images.decode import decode
from audit.ingest.listing import list_samples
from audit.io.console import safe
from audit.sources import SourceOptions, open_source
from audit.tables import OUTCOMES

PATIENCE = 900  # seconds until a scan counts as hung


def test_scan_accounts_for_every_mutated_image(tmp_path, counts, tally, images_of_every_format, mutate, start):
    random = np.random.default_rng(counts.seed)
    names, kinds = set(), sorted(images_of_every_format)
    with tarfile.open(tmp_path / "images.tar", "w") as archive:
        for number in range(counts.mutations):
            kind = kinds[number % len(kinds)]
            whole = images_of_every_format[kind]
            data = mutate(whole[int(random.integers(0, len(whole)))], random)
            member = tarfile.TarInfo(f"train/{'ant' if number % 4 else 'bee'}/{number:06}.{kind}")
            member.size, member.mtime = len(data), 1
            archive.addfile(member, io.BytesIO(data))
            names.add(member.name)
    process = start("scan", tmp_path / "images.tar", "--out", tmp_path / "run", "--backbone", "embedded-small", "--offline", "--json")
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err[-3000:]
    run = audit.open_run(tmp_path / "run")
    reported = json.loads(out)["counts"] if "counts" in json.loads(out) else run.record["counts"]
    assert reported["listed"] == counts.mutations == reported["scanned"] + reported["failed"] == sum(reported["outcomes"].values())
    assert set(run.samples["sample_id"]) == names
    assert len(run.samples) == counts.mutations
    failed = run.samples["outcome"] != "ok"
    assert (run.samples["error"].notna() == failed).all()
    assert np.array_equal(np.isnan(run.embeddings.astype(np.float32)).any(axis=1), failed.to_numpy())
    assert not (run.samples["outcome"] == "crashed").any()
    tally("mutated images, scanned whole", counts.mutations, ", ".join(f"{number} {name}" for name, number in reported["outcomes"].items() if number))


def tar_of(images: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in images.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def read_all(location: object, options: SourceOptions) -> str:
    """List a dataset and read every image; every failure must be an AuditError or an image's outcome."""
    try:
        source = open_source(str(location), options)
        table, problems = list_samples(source, lambda _: None)
    except AuditError as error:
        return "refused with a reason" if safe(str(error)).isprintable() else f"refused unprintably: {error!r}"
    ids = table["sample_id"].to_pylist()
    assert len(ids) == len(set(ids))
    for ref in table["source_ref"].to_pylist():
        try:
            data = source.read(ref)
        except Exception:  # noqa: BLE001 - a scan reports one missing image, whatever the storage raises
            continue
        assert decode(data, max_pixels=10_000_000).outcome in OUTCOMES
    return "listed in part, with a finding" if problems else "listed"


@pytest.mark.parametrize("name", ["images.tar", "images.tar.gz"])
def test_mutated_tars_are_listed_as_far_as_possible(tmp_path, counts, tally, images_of_every_format, mutate, name):
    import gzip

    random = np.random.default_rng(counts.seed + 1)
    long = "train/" + "very-long-name-" * 9
    whole = tar_of(
        {f"{long if number == 1 else 'train/ant'}/{number}.{kind}": images[0] for number, (kind, images) in enumerate(images_of_every_format.items())}
    )
    packed = gzip.compress(whole, 1) if name.endswith("gz") else whole
    path = tmp_path / name
    times = max(counts.mutations // 10, 20)
    outcomes = []
    for number in range(times):
        damaged = mutate(packed, random)
        if not name.endswith("gz") and number % 2:  # target a header: headers are a small share of the bytes
            at = 512 * int(random.integers(0, 6))
            damaged = whole[:at] + mutate(whole[at : at + 512], random).ljust(512, b"\0")[:512] + whole[at + 512 :]
        path.write_bytes(damaged)
        outcomes.append(read_all(path, SourceOptions()))
    assert len(set(outcomes)) > 1
    assert not [outcome for outcome in outcomes if "unprintably" in outcome]
    tally(f"mutated {name.partition('.')[2]} archives", times, ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in sorted(set(outcomes))))


def manifest(tmp_path, kind: str, photo) -> bytes:
    rows = [{"path": f"{number}.png", "label": "ant" if number % 2 else "bee", "split": "train", "note": f'n{number}, "x"'} for number in range(12)]
    for number in range(12):
        photo(number).save(tmp_path / f"{number}.png")
    if kind == "parquet":
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), buffer)
        return buffer.getvalue()
    import csv

    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter="," if kind == "csv" else "\t")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_mutated_manifests_are_read_or_refused(tmp_path, counts, tally, mutate, make_photo, kind):
    random = np.random.default_rng(counts.seed + 2)
    whole = manifest(tmp_path, kind, make_photo)
    path = tmp_path / f"list.{kind}"
    times = max(counts.mutations // 10, 20)
    outcomes = []
    for _ in range(times):
        path.write_bytes(mutate(whole, random))
        outcomes.append(read_all(path, SourceOptions()))
    assert "refused with a reason" in outcomes
    assert not [outcome for outcome in outcomes if "unprintably" in outcome]
    tally(f"mutated {kind} manifests", times, ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in sorted(set(outcomes))))


def test_mutated_parquet_files_with_images(tmp_path, counts, tally, images_of_every_format, mutate):
    random = np.random.default_rng(counts.seed + 3)
    rows = [{"image": {"bytes": images[0], "path": None}, "label": number % 2} for number, images in enumerate(images_of_every_format.values())]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    path = tmp_path / "train-00000-of-00001.parquet"
    times = max(counts.mutations // 10, 20)
    outcomes = []
    for _ in range(times):
        path.write_bytes(mutate(buffer.getvalue(), random))
        outcomes.append(read_all(path, SourceOptions()))
    tally("mutated Parquet files of images", times, ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in sorted(set(outcomes))))


def test_mutated_webdataset_shards(tmp_path, counts, tally, images_of_every_format, mutate):
    random = np.random.default_rng(counts.seed + 4)
    members = {}
    for number, images in enumerate(images_of_every_format.values()):
        members[f"{number:04}.jpg"] = images[0]
        members[f"{number:04}.cls"] = str(number % 2).encode()
        members[f"{number:04}.json"] = json.dumps({"label": number % 2, "caption": "x"}).encode()
    whole = tar_of(members)
    times = max(counts.mutations // 10, 20)
    outcomes = []
    (tmp_path / "shards").mkdir()
    for number in range(times):
        at = 512 * int(random.integers(0, len(whole) // 512)) if number % 2 else 0
        damaged = whole[:at] + mutate(whole[at : at + 1536], random) + whole[at + 1536 :] if number % 2 else mutate(whole, random)
        (tmp_path / "shards/train-000000.tar").write_bytes(damaged)
        outcomes.append(read_all(tmp_path / "shards/train-{000000..000000}.tar", SourceOptions()))
    tally("mutated WebDataset shards", times, ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in sorted(set(outcomes))))


def test_parquet_columns_under_other_names_than_in_the_schema(tmp_path, make_photo):
    """A flipped bit in the name of a column was a crash."""
    whole = manifest(tmp_path, "parquet", make_photo)
    at = whole.rindex(b"label", 0, whole.rindex(b"ARROW:schema") if b"ARROW:schema" in whole else len(whole))
    (tmp_path / "list.parquet").write_bytes(whole[:at] + b"lacel" + whole[at + 5 :])
    assert read_all(tmp_path / "list.parquet", SourceOptions()) == "refused with a reason"


FLIPS = """
import sys
from pathlib import Path
from audit.errors import AuditError
from audit.ingest.listing import list_samples
from audit.sources import SourceOptions, open_source

path, whole = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()
start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
outcomes = set()
for bit in range(8 * start, 8 * min(start + 260, len(whole))):
    damaged = bytearray(whole)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    try:
        list_samples(open_source(str(path), SourceOptions()), lambda _: None)
        outcomes.add("listed")
    except AuditError:
        outcomes.add("refused")
print(sorted(outcomes))
"""


@pytest.mark.slow
def test_no_flipped_bit_of_a_parquet_schema_ends_the_process(tmp_path, make_photo):
    """Arrow's reader of column metadata aborts where the schema and the statistics disagree."""
    (tmp_path / "whole").write_bytes(manifest(tmp_path, "parquet", make_photo))
    line = [sys.executable, "-c", FLIPS, tmp_path / "list.parquet", tmp_path / "whole"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "['listed', 'refused']"


def test_footers_are_read_as_arrow_reads_them(tmp_path):
    from audit.sources.storage.parquet_footer import columns_of

    rows = {"path": ["a", "b"] * 50, "image": [{"bytes": b"x", "path": None}] * 100, "n": list(range(100)), "several": [["a", "b"]] * 100}
    for options in ({}, {"use_dictionary": False}, {"write_page_index": True}):
        pq.write_table(pa.table(rows), tmp_path / "a.parquet", row_group_size=30, **options)
        metadata, wanted = pq.read_metadata(tmp_path / "a.parquet"), []
        for group in range(metadata.num_row_groups):
            for number in range(metadata.num_columns):
                column = metadata.row_group(group).column(number)
                packed = column.physical_type == "BYTE_ARRAY" and any("DICTIONARY" in encoding for encoding in column.encodings)
                wanted.append((column.path_in_schema, column.num_values, column.total_uncompressed_size, packed))
        with (tmp_path / "a.parquet").open("rb") as file:
            assert [tuple(column) for column in columns_of(file)] == wanted


@pytest.mark.parametrize("data", [b"", b"PAR1" * 3, b"PAR1" + b"\x1c" * 200 + (200).to_bytes(4, "little") + b"PAR1", b"\xff" * 50])
def test_corrupt_footers_are_refused(data, tmp_path):
    from audit.sources.storage.parquet_footer import columns_of

    with pytest.raises(ValueError, match=r"footer|too few|without end"):
        list(columns_of(io.BytesIO(data)))
