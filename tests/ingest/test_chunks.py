"""Ingest: one outcome per image, independent of chunks and processes."""

import io
import os
import subprocess
import sys
from dataclasses import dataclass, field

import numpy as np
import pytest
from PIL import Image

from audit.backbones import choose
from audit.backbones.placement import place
from audit.backbones.runtime import OnnxModel, prepare
from audit.errors import AuditError
from audit.images.decode import DEFAULT_MAX_PIXELS
from audit.ingest import workers as module
from audit.ingest.chunks import Chunk, Recipe
from audit.ingest.workers import ingest
from audit.tables import MEASURES


@dataclass
class Memory:
    """An in-memory source; reading ``kill`` ends the process."""

    images: dict[str, bytes]
    kind: str = "memory"
    location: str = "memory"
    parent: int = field(default_factory=os.getpid)

    def collect(self):
        yield from ()

    def read(self, source_ref):
        if source_ref == "kill" and os.getpid() != self.parent:
            os._exit(9)
        return self.images[source_ref]


@pytest.fixture(scope="module")
def model() -> OnnxModel:
    backbone = choose("embedded").backbone
    found = prepare(backbone, place(backbone, device="cpu", precision="auto", note=print), print)
    assert isinstance(found, OnnxModel)
    return found


def png(seed: int) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((80, 60)).save(buffer, "PNG")
    return buffer.getvalue()


def run(images, size, model, workers=2):
    refs = list(images)
    recipe = Recipe(Memory(images), choose("embedded").backbone.preprocessing, DEFAULT_MAX_PIXELS, model)
    chunks = [Chunk(np.arange(start, min(start + size, len(refs))), refs[start : start + size]) for start in range(0, len(refs), size)]
    return list(ingest(chunks, len(refs), recipe, None, workers=workers, together=size))


def joined(parts):
    rows = np.concatenate([part.rows for part in parts])
    measures = [measured for part in parts for measured in part.measures]
    return rows, measures, np.concatenate([part.embeddings for part in parts])


def test_one_outcome_per_image_and_unit_embeddings(model):
    images = {"a": png(0), "empty": b"", "cut": png(1)[:60], "b": png(2)}
    rows, measures, embeddings = joined(run(images, 3, model))
    assert rows.tolist() == [0, 1, 2, 3]
    assert [measured["outcome"] for measured in measures] == ["ok", "empty", "truncated", "ok"]
    assert np.isnan(embeddings[[1, 2]]).all()
    assert np.linalg.norm(embeddings[[0, 3]].astype(np.float32), axis=1) == pytest.approx([1, 1], abs=1e-2)
    for measured in measures:
        assert set(measured) <= set(MEASURES.names)
    assert set(measures[0]) == set(MEASURES.names)


def test_unreadable_file_is_missing(model):
    source_refs = ["present", "absent"]
    recipe = Recipe(Memory({"present": png(0)}), choose("embedded").backbone.preprocessing, DEFAULT_MAX_PIXELS, model)
    (part,) = ingest([Chunk(np.arange(2), source_refs)], 2, recipe, None, workers=1, together=2)
    assert [measured["outcome"] for measured in part.measures] == ["ok", "missing"]
    assert "absent" in part.measures[1]["error"]


def test_results_do_not_depend_on_chunk_size(model):
    images = {str(seed): png(seed) for seed in range(13)}
    _, one, together = joined(run(images, 13, model))
    _, many, apart = joined(run(images, 4, model))
    assert one == many
    assert np.array_equal(together, apart)


def test_crash_affects_only_its_image(model, monkeypatch):
    monkeypatch.setattr(module, "_PROCESSES_PAY_FROM", 0)
    images = {str(seed): png(seed) for seed in range(9)}
    images = {**dict(list(images.items())[:5]), "kill": png(99), **dict(list(images.items())[5:])}
    rows, measures, embeddings = joined(run(images, 3, model))
    assert rows.tolist() == list(range(10))
    assert [measured["outcome"] for measured in measures] == ["ok"] * 5 + ["crashed"] + ["ok"] * 4
    assert len(measures[5]["content_id"]) == 64
    assert np.isnan(embeddings[5]).all()
    assert np.isfinite(embeddings[[0, 4, 6, 9]]).all()


def test_worker_processes_and_this_process_agree(model, monkeypatch):
    images = {str(seed): png(seed) for seed in range(6)}
    _, here, embedded_here = joined(run(images, 3, model))
    monkeypatch.setattr(module, "_PROCESSES_PAY_FROM", 0)
    _, there, embedded_there = joined(run(images, 3, model))
    assert here == there
    assert np.array_equal(embedded_here, embedded_there)


@dataclass
class Deadly(Memory):
    """A source that ends every process that unpickles it."""

    def __setstate__(self, state):
        os._exit(9)


def test_crash_at_start_up_is_an_error(model, monkeypatch):
    monkeypatch.setattr(module, "_PROCESSES_PAY_FROM", 0)
    recipe = Recipe(Deadly({"a": png(0)}), choose("embedded").backbone.preprocessing, DEFAULT_MAX_PIXELS, model)
    with pytest.raises(AuditError, match="crash before they read an image"):
        list(ingest([Chunk(np.arange(1), ["a"])], 1, recipe, None, workers=1, together=2))


def test_script_without_main_guard_runs_once(tmp_path):
    """Worker processes do not import the script that calls ``scan``, as in the README."""
    (tmp_path / "images").mkdir()
    for seed in range(4):
        (tmp_path / "images" / f"{seed}.png").write_bytes(png(seed))
    script = tmp_path / "script.py"
    script.write_text(
        "import audit, audit.ingest.workers\n"
        "audit.ingest.workers._PROCESSES_PAY_FROM = 1\n"
        "print('begun')\n"
        "run = audit.scan('images', 'run', options=audit.ScanOptions(backbone='embedded', device='cpu'))\n"
        "print(run.samples['outcome'].tolist())\n"
    )
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "begun\n['ok', 'ok', 'ok', 'ok']\n", done.stderr
