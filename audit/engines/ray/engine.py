"""The Ray engine: Ray Data actors read and embed images, tasks search blocks of neighbors; both run the code of the local engine.

The driver lists the dataset, writes the run directory and runs the short stages. Workers need the same version of this package and must reach the
dataset under the same name; each proves it before its first image. Moritz et al. 2018, "Ray: A Distributed Framework for Emerging AI Applications"
(arXiv:1712.05889).
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import platform
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audit.backbones import placement, runtime
from audit.backbones.runtime import Placement, TorchEmbedder
from audit.engines.base import Job
from audit.engines.ray.address import require_cluster
from audit.engines.ray.capacity import capacity_of
from audit.engines.ray.exit_message import exit_message
from audit.errors import AuditError, BackboneError, ConfigError, SourceError, reason
from audit.ingest.chunks import Chunk, Ingested, Recipe, embed_together
from audit.ingest.workers import Workers
from audit.tables import FEATURE_BYTES, FEATURES, MEASURES, THUMBNAIL_SIDE

if TYPE_CHECKING:
    from audit.backbones import Backbone
    from audit.neighbors.backends import Backend
    from audit.neighbors.search import BlockSearch, Found

_BATCHES_PER_BLOCK = 16
"""Batches sent together: enough work to hide the transfer, little enough to lose in a crash."""

_SHARD_ROWS = 65_536
"""Embeddings per object in the cluster's store: 170 MB at 1280 dimensions."""

_SEARCHES_AHEAD_PER_ACTOR = 2
_EXIT_MESSAGE = "error: --engine ray: the scan was killed (by Ray, if its cluster is gone); restart the cluster and run the same command to resume"
_PROBED = 100
"""Images that the driver tries until it can read one, with which workers prove that they read the same bytes."""


class RayEngine:
    """A Ray cluster, or Ray on this machine.

    Args:
        address: ``auto`` or ``HOST:PORT``; None uses the cluster that this process is connected to, else starts Ray on this machine for the scan.

    Raises:
        ConfigError: Ray is not installed, or no cluster answers.
    """

    def __init__(self, address: str | None) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # no telemetry, also in child processes
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # errors are raised; the rest is in the workers' logs
        try:
            import ray
            import ray.data
        except ImportError as error:
            raise ConfigError("--engine ray", f"Ray is not installed ({error})", "pip install 'imagenet-audit[ray]' on every machine") from None
        if address is not None and "://" in address:
            raise ConfigError("--address", f"{address!r} is a Ray Client address", "run the scan on a machine of the cluster, with --address auto")
        self._address, self._ray, self._ending = address, ray, ExitStack()

    def __enter__(self) -> Self:
        if not self._ray.is_initialized():
            if self._address is not None:
                require_cluster(self._address)
            local = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"} if self._address is None else {}
            try:
                self._ray.init(self._address or "local", log_to_driver=False, logging_level=logging.ERROR, **local)
            except (ConnectionError, RuntimeError, ValueError) as error:
                problem = f"no Ray cluster answers ({reason(error)})"
                raise ConfigError(f"--address {self._address}", problem, "start one with ray start --head, or remove --address") from None
            self._ending.callback(self._ray.shutdown)
        self._ending.enter_context(exit_message(_EXIT_MESSAGE))
        settings = self._ray.data.DataContext.get_current()
        settings.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def place(self, backbone: Backbone, *, device: str, precision: str, note: Callable[[str], None]) -> Placement:
        """Choose on a worker what the backbone runs on: its GPU if the cluster has one and ``cpu`` is not requested."""
        if device.startswith("cuda:"):
            raise BackboneError(device, "Ray itself assigns GPUs to actors", "use --device cuda, or scan without --engine ray")
        on_gpu = device != "cpu" and self._resource("GPU") > 0
        if device == "cuda" and not on_gpu:
            raise BackboneError(device, "the Ray cluster has no GPU", "use --device cpu, or add machines with GPUs")
        if precision == "auto" and not on_gpu:
            note(f"Ray: a worker measures how {backbone.name} runs fastest")
        found: Placement = self._ask_a_worker(_placement, backbone, device if on_gpu else "cpu", precision, on_gpu=on_gpu)
        return found

    def ingest(self, job: Job, note: Callable[[str], None]) -> Iterator[Ingested]:
        """Read and embed images in actors, one per CPU or per GPU; the incomplete blocks of a lost actor or machine are read again."""
        on_gpu = job.placement.runtime == "PyTorch"
        capacity = capacity_of(self._machines(), on_gpu=on_gpu, workers=job.workers)
        if not on_gpu:
            runtime.prepare(job.backbone, job.placement, note)  # once for all actors on this machine
        size = job.batch_size * _BATCHES_PER_BLOCK * (runtime.BATCHES_TOGETHER if on_gpu else 1)
        blocks = [
            pa.table({"row": job.rows[start : start + size], "source_ref": job.source_refs.slice(start, size)})
            for start in range(0, len(job.rows), size)
        ]
        note(f"Ray: {len(blocks)} blocks of images for up to {capacity.actors} actors on {len(self._machines())} machines")
        without_images = dataclasses.replace(job, rows=job.rows[:0], source_refs=job.source_refs.slice(0, 0))
        reader = _Settings(without_images, capacity.processes, _proof(job), _fingerprint())
        results = self._ray.data.from_arrow(blocks).map_batches(
            _Reader,
            fn_constructor_args=(reader,),
            batch_size=size,  # one block; Ray requires a size on GPUs
            batch_format="pyarrow",
            compute=self._ray.data.ActorPoolStrategy(min_size=1, max_size=capacity.actors),
            num_cpus=capacity.cpus,
            num_gpus=1 if on_gpu else None,
        )
        with _explained():
            for table in results.iter_batches(batch_size=None, batch_format="pyarrow"):
                yield _from_table(table, job.backbone.dimension)

    def backend(self, device: str) -> Backend:
        """Choose what compares many rows with all others, on a worker with a GPU if the cluster has one."""
        from audit.neighbors.backends import PROCESSORS, on_this_machine

        if device == "cpu" or not self._resource("GPU"):
            return PROCESSORS
        found: Backend = self._ask_a_worker(on_this_machine, device, on_gpu=True)
        return found

    def search(
        self, work: BlockSearch, embeddings: npt.NDArray[np.float16], blocks: list[npt.NDArray[np.int64]]
    ) -> Iterator[tuple[npt.NDArray[np.int64], Found]]:
        """Search blocks of rows in tasks; the cluster's store holds the embeddings in shards that each machine fetches once.

        Ray leaves all GPUs visible to tasks that request none; they do not use them, because the backend is part of the work.
        """
        ray = self._ray
        capacity = capacity_of(self._machines(), on_gpu=work.on_gpu)
        size = _SHARD_ROWS
        shards = [ray.put(np.asarray(embeddings[start : start + size])) for start in range(0, len(embeddings), size)]
        everything = ray.put((work, shards, size))
        task = ray.remote(num_cpus=1, num_gpus=int(work.on_gpu), max_retries=-1)(_search)
        ahead = capacity.actors * _SEARCHES_AHEAD_PER_ACTOR
        running: dict[Any, npt.NDArray[np.int64]] = {}
        waiting = iter(blocks)
        with _explained():
            while True:
                while len(running) < ahead and (rows := next(waiting, None)) is not None:
                    running[task.remote([everything], rows)] = rows
                if not running:
                    return
                (done,), _ = ray.wait(list(running))
                yield running.pop(done), ray.get(done)

    def _ask_a_worker(self, question: Callable[..., Any], *arguments: object, on_gpu: bool) -> Any:
        capacity_of(self._machines(), on_gpu=on_gpu)  # raises if the request would wait forever
        with _explained():
            return self._ray.get(self._ray.remote(num_cpus=1, num_gpus=int(on_gpu))(question).remote(*arguments))

    def _resource(self, name: str) -> float:
        return float(self._ray.cluster_resources().get(name, 0))

    def _machines(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]


@dataclass(frozen=True, slots=True)
class _Settings:
    """Everything that an actor needs."""

    job: Job
    """Without rows."""
    processes: Mapping[str, int]
    """See `audit.engines.ray.capacity.Capacity`."""
    proof: tuple[str, str] | None
    """A reference and the digest of its bytes, as the driver reads them."""
    fingerprint: str


class _Reader:
    """An actor: reads blocks in worker processes, so that an image that crashes a decoder affects only itself."""

    def __init__(self, settings: _Settings) -> None:
        _prove(settings)
        job = settings.job
        model = runtime.prepare(job.backbone, job.placement, lambda _: None, batch_size=job.batch_size)
        shared = None if isinstance(model, TorchEmbedder) else model
        self._embedder = model if isinstance(model, TorchEmbedder) else None
        recipe = Recipe(job.source, job.backbone.preprocessing, job.max_pixels, shared, job.reusable, job.max_bytes, job.seconds, ranges=job.ranges)
        self._workers = Workers(recipe, settings.processes.get(_machine(), 1), job.batch_size)
        self._batch_size = job.batch_size

    def __call__(self, block: pa.Table) -> pa.Table:
        rows, refs = block["row"].to_numpy(), block["source_ref"]
        size = self._batch_size
        chunks = (Chunk(rows[start : start + size], refs.slice(start, size).to_pylist()) for start in range(0, len(rows), size))
        parts = self._workers.measure(chunks)
        if self._embedder is not None:
            parts = embed_together(parts, self._embedder)
        return pa.concat_tables([_to_table(part) for part in parts])


class _Shards:
    """Embeddings in the cluster's store, ``size`` rows per part, read as ``shards[rows]``."""

    def __init__(self, parts: list[npt.NDArray[np.float16]], size: int) -> None:
        self._parts, self._size = parts, size
        self.shape = sum(map(len, parts)), parts[0].shape[1]

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
        found = np.empty((len(rows), self.shape[1]), np.float16)
        shard_of = rows // self._size
        for shard in np.unique(shard_of):
            mine = shard_of == shard
            found[mine] = self._parts[shard][rows[mine] - shard * self._size]
        return found


def _search(everything: list[Any], rows: npt.NDArray[np.int64]) -> Found:
    work, embeddings = _opened(everything[0])
    found: Found = work(embeddings, rows)
    return found


@lru_cache(maxsize=1)
def _opened(everything: Any) -> tuple[BlockSearch, Any]:
    """Return the work and the embeddings, mapped from this machine's store; cached, because one process searches many blocks."""
    import ray

    work, shards, size = ray.get(everything)
    return work, _Shards(ray.get(shards), size)


def _to_table(part: Ingested) -> pa.Table:
    table = pa.Table.from_pylist(part.measures, MEASURES).add_column(0, "row", pa.array(part.rows))
    for name, array in (("thumbnail", part.thumbnails), ("features", part.features), ("embedding", part.embeddings)):
        width = array[0].nbytes
        packed = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(array), [None, pa.py_buffer(np.ascontiguousarray(array))])
        table = table.append_column(name, packed)
    return table


def _from_table(table: pa.Table, dimension: int) -> Ingested:
    def unpacked(name: str, dtype: Any, *shape: int) -> Any:
        return np.frombuffer(b"".join(table[name].to_pylist()), dtype).reshape(len(table), *shape)

    return Ingested(
        table["row"].to_numpy(),
        table.select(MEASURES.names).to_pylist(),
        unpacked("thumbnail", np.uint8, THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3),
        unpacked("features", np.uint8, FEATURES, FEATURE_BYTES),
        None,
        unpacked("embedding", np.float16, dimension),
    )


def _machine() -> str:
    """Return the id of this actor's machine."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def _placement(backbone: Backbone, device: str, precision: str) -> Placement:
    return placement.place(backbone, device=device, precision=precision, note=lambda _: None)


def _fingerprint() -> str:
    """Return the versions that must be equal on all machines for equal results."""
    return ", ".join(f"{name} {version(name)}" for name in ("imagenet-audit", "numpy", "pillow", "opencv-python-headless"))


def _proof(job: Job) -> tuple[str, str] | None:
    for ref in job.source_refs.slice(0, _PROBED).to_pylist():
        try:
            return ref, hashlib.sha256(job.source.read(ref)).hexdigest()
        except Exception:  # noqa: BLE001, S112  storage libraries raise their own types; an unreadable image proves nothing
            continue
    return None


def _prove(settings: _Settings) -> None:
    """Refuse to work if results would differ: another release, another placement, or another dataset under the same name."""
    machine = platform.node()
    if _fingerprint() != settings.fingerprint:
        problem = f"has {_fingerprint()}; the driver has {settings.fingerprint}"
        raise ConfigError(f"--engine ray: {machine}", problem, "install the same releases on every machine")
    device = "cpu" if settings.job.placement.device == "cpu" else "cuda"
    precision = settings.job.placement.precision
    mine = placement.place(settings.job.backbone, device=device, precision=precision, note=lambda _: None)
    if mine != settings.job.placement:
        raise BackboneError(machine, f"would embed in {mine}, others in {settings.job.placement}", "use --precision float32")
    if settings.proof is None:
        return
    ref, digest = settings.proof
    try:
        found = hashlib.sha256(settings.job.source.read(ref)).hexdigest()
    except Exception as error:  # noqa: BLE001  storage libraries raise their own types
        found = reason(error)
    if found != digest:
        problem = f"{machine} does not read the same bytes as the driver (image {ref}: {found})"
        raise SourceError(settings.job.source.location, problem, "put the dataset where every machine of the cluster reaches it under this name")


@contextmanager
def _explained() -> Iterator[None]:
    """Turn Ray's exceptions into errors of this package; keep a worker's own error."""
    import ray.exceptions

    try:
        yield
    except ray.exceptions.RayError as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, AuditError):
                raise type(cause)(cause.where, cause.problem, cause.hint) from None
            cause = getattr(cause, "cause", None) or cause.__cause__
        last = str(error).strip().splitlines()[-1]  # Ray keeps only the text of an actor's error at start-up
        if (refused := re.fullmatch(r"audit\.errors\.\w+: (.+); (.+)", last)) is not None:
            raise ConfigError("--engine ray", refused[1], refused[2]) from None
        raise ConfigError("--engine ray", last[:300], "see the workers' logs; run the same command to resume") from error
