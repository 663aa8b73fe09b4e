"""Fixtures that tests of several folders share."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs

# One thread per process: on shared cores the threads of OpenBLAS and OpenMP wait for each other in busy loops, and a scan costs five times as much.
# Libraries read this when they are loaded, and worker and child processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Processes that tests give another HOME use the same exported models: an export takes ten seconds.
os.environ.setdefault("IMAGENET_AUDIT_CACHE", platformdirs.user_cache_dir("imagenet-audit"))

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

import audit
from audit.io.artifacts import write_array, write_json, write_table
from audit.pairs.pairs import find_pairs
from audit.run.run import Run
from audit.tables import FINDINGS, OUTCOMES, PAIRS, SAMPLES, SCHEMA_VERSION

HOSTILE = "val/dog/\x1b[31mred\nline\u202egpj.jpg"


def _sample(number, sample_id, split, label, outcome="ok", error=None):
    measured = outcome == "ok"
    row = dict.fromkeys(SAMPLES.names)
    row |= {
        "sample_id": sample_id,
        "source_ref": sample_id,
        "fingerprint": str(number),
        "split": split,
        "label": label,
        "content_id": f"{number:02x}" * 32,
        "outcome": outcome,
        "error": error,
        "byte_size": 1000 + number,
        "format": "JPEG",
    }
    if measured:
        row |= {"mode": "RGB", "width": 64, "height": 48, "frames": 1, "orientation": 1, "has_alpha": False, "exif_families": []}
        row |= {"brightness": 0.1 * number, "sharpness": 2.0, "perceptual_hash": number}
    return row


def _finding(number, check, kind, severity, score, sample, message, **more):
    row = dict.fromkeys(FINDINGS.names) | {"finding_id": f"f{number}", "check": check, "kind": kind, "severity": severity, "score": score}
    row |= {"subject": "sample" if sample else "class", "message": message, "evidence": json.dumps(more.pop("evidence", {}))}
    if sample:
        row |= {name: sample[name] for name in ("sample_id", "content_id", "split", "label")}
    return row | more


WATCH = """
import os, socket

HERE = (None, "", "localhost", "127.0.0.1", "::1")
found = socket.getaddrinfo

def note(line):
    with open(os.environ["CONNECTIONS"], "a") as file:
        file.write(f"{line}\\n")

def refuse(name):
    def watched(self, *arguments):
        address = arguments[-1]
        if self.family != socket.AF_UNIX and address[0] not in HERE:
            note(f"{name} {address}")
            raise OSError(101, "Network is unreachable")
        return getattr(socket._socket.socket, name)(self, *arguments)

    return watched

def looked_up(host, *arguments, **options):
    if host in HERE:
        return found(host, *arguments, **options)
    note(f"getaddrinfo {host}")
    raise socket.gaierror(-3, "Temporary failure in name resolution")

for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse(name))
socket.getaddrinfo = looked_up
"""
"""Run when a Python starts: notes and refuses what would leave this machine."""


@pytest.fixture
def small_run(tmp_path):
    """A finished run of six images, written by hand: a conflict, leaks, a truncated file, a class finding, a skipped check, a hostile file name."""
    path = tmp_path / "run"
    (path / "findings").mkdir(parents=True)
    (path / "scores").mkdir()
    samples = [
        _sample(1, "train/cat/1.jpg", "train", "n1"),
        _sample(2, "train/cat/2.jpg", "train", "n1"),
        _sample(3, "train/dog/1.jpg", "train", "n2"),
        _sample(4, "train/dog/3.jpg", "train", "n2", "truncated", "ends after 3 of 9 blocks"),
        _sample(5, HOSTILE, "val", "n2"),
        _sample(6, "val/dog/6.jpg", "val", None),
    ]
    write_table(path / "samples.parquet", pa.Table.from_pylist(samples, SAMPLES))
    findings = {
        "conflicting_labels": [
            _finding(1, "conflicting_labels", "conflicting_labels", "error", 0.9, samples[0], "is train/dog/1.jpg, labelled n2", suggested_label="n2")
        ],
        "integrity": [_finding(2, "integrity", "truncated", "error", 1.0, samples[3], "ends after 3 of 9 blocks")],
        "leakage": [
            _finding(number, "leakage", "re_encoded", "warning", 0.5 + 0.01 * number, samples[4], "is also in train", evidence={"cosine": 0.991})
            for number in range(3, 8)
        ],
        "class_balance": [_finding(8, "class_balance", "rare_class", "info", 0.2, None, "has 2 images", label="n1")],
        "outliers": [],
    }
    for name, rows in findings.items():
        write_table(path / "findings" / f"{name}.parquet", pa.Table.from_pylist(rows, FINDINGS))
        scores = np.array([0.1, 0.2, 0.3, np.nan, 0.9, 0.0], np.float32)
        write_array(path / "scores" / f"{name}.npy", scores)
    pair = {
        "i": 0,
        "j": 2,
        "relation": "identical_bytes",
        "score": 1.0,
        "group": 0,
        "cosine": 1.0,
        "hamming": 0,
        "evidence": json.dumps({"bytes": 1001}),
    }
    write_table(path / "pairs.parquet", pa.Table.from_pylist([pair], PAIRS))
    write_array(path / "embeddings.npy", np.full((6, 4), 0.5, np.float16))
    neighbors = np.array([[2, 1], [0, 2], [0, 1], [-1, -1], [2, 0], [0, 1]], np.int32)
    write_array(path / "neighbors.npy", neighbors)
    write_array(path / "similarities.npy", np.where(neighbors < 0, np.nan, [0.9, 0.5]).astype(np.float32))
    outcomes = {outcome: sum(sample["outcome"] == outcome for sample in samples) for outcome in OUTCOMES}
    record = {
        "schema_version": SCHEMA_VERSION,
        "version": "0.1.0",
        "source": {"kind": "folder", "location": "/data/pets", "ignored": {"txt": 2}},
        "options": {"source": {}},
        "backbone": {"name": "embedded", "licence": "Apache-2.0", "device": "cpu", "precision": "float32", "reason": "asked for"},
        "counts": {"listed": 6, "scanned": 5, "failed": 1, "outcomes": outcomes},
        "timings": {"ingest": 61.0, "neighbors": 14.0},
        "stages": {},
        "checks": {name: {"state": "done", "reason": None, "findings": len(rows), "seconds": 0.1} for name, rows in findings.items()}
        | {"label_errors": {"state": "skipped", "reason": "no predictions", "findings": 0, "seconds": 0.0}},
        "class_words": {"n1": "cat, felis", "n2": "dog"},
        "finished": True,
    }
    write_json(path / "run.json", record)
    return Run(path)


@pytest.fixture(scope="session")
def pairs_of_sets():
    """Return the real pairs of rows with the same number: every copy is paired with the first of its set."""

    def pairs(sets):
        rows = len(sets)
        samples = pd.DataFrame(
            {
                "outcome": "ok",
                "content_id": [f"{number:064x}" for number in sets],
                "pixel_id": [f"{number:032x}" for number in sets],
                "perceptual_hash": pd.array([number * 0x9E3779B97F4A7C15 % 2**64 for number in sets], "UInt64"),
                "byte_size": 1000,
                "width": 32,
                "height": 32,
            }
        )
        thumbnails = np.stack([np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8) for number in sets])
        return find_pairs(samples, thumbnails, np.full((rows, 1), -1, np.int32), np.full((rows, 1), np.nan, np.float32)).table

    return pairs


@pytest.fixture(scope="session")
def marked_run(tmp_path_factory):
    """A real run of two classes, one of which has a mark at its bottom left."""
    folder = tmp_path_factory.mktemp("marked")
    random = np.random.default_rng(4)
    mark = random.integers(0, 256, (24, 24, 3), np.uint8)
    for label in ("cat", "dog"):
        (folder / "images" / label).mkdir(parents=True)
        for number in range(40):
            pixels = random.integers(0, 256, (random.integers(5, 9), random.integers(5, 9), 3), np.uint8)
            image = Image.fromarray(pixels).resize((160, 128), Image.Resampling.BICUBIC)
            if label == "cat" and number % 3:
                image.paste(Image.fromarray(mark), (8, 96))
            image.save(folder / "images" / label / f"{number:02}.png")
    return audit.scan(folder / "images", folder / "run", options=audit.ScanOptions(backbone="embedded", device="cpu", workers=1))


@dataclass(frozen=True)
class Watch:
    """A watch over the connections of processes that are started with its environment."""

    environment: dict[str, str]
    log: Path

    def attempts(self) -> list[str]:
        """Return what would have left this machine so far."""
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def watch(tmp_path):
    folder = tmp_path / "watch"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(WATCH)
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    return Watch({"PYTHONPATH": path, "CONNECTIONS": str(folder / "connections")}, folder / "connections")


def make_samples(rows):
    """Return a samples frame; each row is a dictionary of what differs from a plain photo."""
    plain = {
        "source_ref": "",
        "fingerprint": "",
        "split": "train",
        "label": "cat",
        "outcome": "ok",
        "byte_size": 1000,
        "format": "JPEG",
        "mode": "RGB",
        "width": 500,
        "height": 400,
        "frames": 1,
        "orientation": 1,
        "has_alpha": False,
        "exif_families": [],
        "brightness": 0.5,
        "luma_p01": 0.05,
        "luma_p99": 0.95,
        "contrast": 0.2,
        "sharpness": 3.2,
        "entropy": 7.3,
        "chroma": 0.5,
    }
    every = [
        {**plain, "sample_id": f"train/cat/{at}.jpg", "content_id": f"{at:064x}", "pixel_id": f"{at:032x}", **row} for at, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(every, SAMPLES).to_pandas()


@pytest.fixture
def samples_of():
    return make_samples
