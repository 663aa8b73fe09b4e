"""Worker processes: shared memory for GPU inputs, crashes and restarts."""

import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from audit.backbones.base import Preprocessing
from audit.ingest import workers as module
from audit.ingest.chunks import REUSABLE, Chunk, Ingested, Recipe, embed, embed_together, measure, no_features
from audit.ingest.workers import Workers, ingest

SIDE = 16
PREPROCESSING = Preprocessing(input_size=SIDE, resize=SIDE, resampling="bilinear", mean=(0, 0, 0), std=(1, 1, 1))


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 24, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass
class Numbered:
    """Image 5 is corrupt, 17 ends the process that reads it, all others are different."""

    kind: str = "memory"
    location: str = "memory"
    parent: int = field(default_factory=os.getpid)

    def collect(self):
        yield from ()

    def read(self, source_ref):
        if source_ref == "17" and os.getpid() != self.parent:
            os._exit(9)
        return b"damaged" if source_ref == "5" else png(int(source_ref))


class Means:
    """Embeds an image as the means of its quarters; records batch sizes."""

    def __init__(self, together):
        self.together, self.sizes = together, []

    def buffer(self):
        return np.full((self.together, SIDE, SIDE, 3), 255, np.uint8)

    def embed(self, batch):
        self.sizes.append(len(batch))
        return batch.reshape(len(batch), 2, SIDE // 2, 2, SIDE // 2, 3).mean((2, 4), dtype=np.float32).reshape(len(batch), 12)


def chunks(count, size):
    return [
        Chunk(np.arange(start, min(start + size, count)), list(map(str, range(start, min(start + size, count))))) for start in range(0, count, size)
    ]


def recipe():
    return Recipe(Numbered(), PREPROCESSING, 10**6, None)


@pytest.mark.parametrize("processes", [0, 10**6])
def test_large_batches_equal_single_images(monkeypatch, processes):
    monkeypatch.setattr(module, "_PROCESSES_PAY_FROM", processes)
    embedder = Means(together=7)
    found = list(ingest(chunks(41, 3), 41, recipe(), embedder, workers=2, together=3))
    assert np.concatenate([part.rows for part in found]).tolist() == list(range(41))
    died = [17] if processes == 0 else []
    for number, part in zip(range(41), (part for whole in found for part in single(whole)), strict=True):
        alone = embed(measure(Chunk(np.array([number]), [str(number)]), recipe()), Means(1))
        if number in died:
            assert part.measures[0]["outcome"] == "crashed"
            assert np.isnan(part.embeddings).all()
        else:
            assert part.measures == alone.measures
            assert np.array_equal(part.embeddings, alone.embeddings, equal_nan=True)
            assert np.array_equal(part.thumbnails, alone.thumbnails)
    assert max(embedder.sizes) > 3
    assert sum(embedder.sizes) == 40 - len(died)


def single(part):
    return [
        Ingested(
            part.rows[at : at + 1],
            part.measures[at : at + 1],
            part.thumbnails[at : at + 1],
            part.features[at : at + 1],
            None,
            part.embeddings[at : at + 1],
        )
        for at in range(len(part.rows))
    ]


def test_inputs_are_in_shared_memory():
    processes = Workers(recipe(), 1, 4)
    try:
        for part in processes.measure(chunks(16, 4)):
            assert any(np.shares_memory(part.inputs, processes._slots[slot]) for slot in range(3))
            assert part.inputs.any(axis=(1, 2, 3)).tolist() == [measured["outcome"] == "ok" for measured in part.measures]
    finally:
        processes.close()


def test_chunks_without_images_to_embed():
    """All images may be reusable or unreadable."""

    def results(count):
        for at in range(count):
            yield Ingested(
                np.arange(at, at + 1),
                [{"outcome": REUSABLE}],
                np.zeros((1, 32, 32, 3), np.uint8),
                no_features(1),
                np.zeros((1, SIDE, SIDE, 3), np.uint8),
            )

    for count in (0, 1, 9):
        found = list(embed_together(results(count), Means(4)))
        assert [part.rows.tolist() for part in found] == [[at] for at in range(count)]
        assert all(part.embeddings.shape == (1, 12) and np.isnan(part.embeddings).all() for part in found)


def test_device_error_ends_the_scan():
    class Broken(Means):
        def embed(self, batch):
            raise ValueError("no such device")

    with pytest.raises(ValueError, match="no such device"):
        list(ingest(chunks(5, 1), 5, recipe(), Broken(2), workers=1, together=1))


@dataclass
class Struck(Numbered):
    """Image 17 ends its process the first few times, as if memory were low; every death leaves a file."""

    deaths: str = ""
    strikes: int = 0

    def read(self, source_ref):
        if source_ref == "17" and os.getpid() != self.parent and len(before := list(Path(self.deaths).iterdir())) < self.strikes:
            (Path(self.deaths) / str(len(before))).touch()
            os._exit(9)
        return png(int(source_ref))


@pytest.mark.parametrize(("strikes", "outcome"), [(3, "ok"), (4, "crashed")])
def test_image_counts_as_crashed_after_three_isolated_crashes(monkeypatch, tmp_path, strikes, outcome):
    """The first crash is in a chunk, the next three are isolated."""
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0)
    processes = Workers(Recipe(Struck(deaths=str(tmp_path), strikes=strikes), PREPROCESSING, 10**6, None), 1, 3)
    try:
        found = [measured["outcome"] for part in processes.measure(chunks(21, 3)) for measured in part.measures]
    finally:
        processes.close()
    assert found == ["ok"] * 17 + [outcome] + ["ok"] * 3
    assert len(list(tmp_path.iterdir())) == strikes


def struck_before(at, chunks, strike):
    for number, chunk in enumerate(chunks):
        if number == at:
            strike()
        yield chunk


@pytest.mark.skipif(sys.platform == "win32", reason="processes start themselves there")
@pytest.mark.parametrize("struck", ["fork server", "workers"])
def test_restarts_processes_killed_before_they_get_work(monkeypatch, struck):
    """They are restarted, and no image counts as crashed."""
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0)
    processes = Workers(recipe(), 2, 3)

    def strike():
        if struck == "workers":
            pool = processes._pool
            for process in list(pool._processes.values()):
                process.kill()
            while not pool._broken:
                time.sleep(0.01)
        else:
            os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)

    at = 2 if struck == "workers" else 0
    forkserver.ensure_running()
    try:
        found = [measured["outcome"] for part in processes.measure(struck_before(at, chunks(15, 3), strike)) for measured in part.measures]
    finally:
        processes.close()
    assert found == ["ok"] * 5 + ["unreadable"] + ["ok"] * 9


@pytest.mark.skipif(sys.platform == "win32", reason="there processes are started otherwise")
def test_interrupt_during_start_up_prints_no_worker_traceback(tmp_path):
    (tmp_path / "interrupted.py").write_text("import os, signal\n\nos.kill(os.getpid(), signal.SIGINT)\n")
    program = """
from audit.processes import process_context

context = process_context()
context.set_forkserver_preload(["interrupted"])
process = context.Process(target=print, args=("started",))
process.start()
process.join()
"""
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.stdout, done.stderr) == ("started\n", "")
