"""A Ray cluster: Ray Data actors read and embed images, tasks search blocks of neighbors; both by the code that one machine runs.

The driver lists the dataset, writes the run directory and does what is short. Workers need this package in the same version and must reach the
dataset under the same name; each proves it before its first image. Moritz et al. 2018, "Ray: A Distributed Framework for Emerging AI Applications"
(arXiv:1712.05889).
"""

from __future__ import annotations

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

from audit.backbones import runtime
from audit.backbones.runtime import OnnxModel, Placement
from audit.engines.base import Job
from audit.engines.ray import address as joining
from audit.engines.ray.capacity import room
from audit.engines.ray.exit_message import last_word
from audit.errors import AuditError, BackboneError, ConfigError, SourceError
from audit.ingest.chunks import Chunk, Ingested, Recipe, embed_together
from audit.ingest.reuse import KnownContents
from audit.ingest.workers import Workers
from audit.tables import MEASURES, THUMBNAIL_SIDE

if TYPE_CHECKING:
    from audit.neighbors.backends import Backend
    from audit.neighbors.search import BlockSearch, Found

_BATCHES_PER_BLOCK = 16
"""Batches that travel together: enough work to hide the sending, little enough to lose."""

_SHARD_ROWS = 65_536
"""Embeddings of one object in the cluster's store: 170 MB at 1280 dimensions."""

_SEARCHES_AHEAD_PER_ACTOR = 2
_LAST_WORD = "error: --engine ray: the process was ended, by Ray where its cluster is gone; start that again, and the same command resumes"
_PROBED = 100
"""Images that the driver tries to read until one can be, for workers to prove that they see the same."""


class RayEngine:
    """A Ray cluster, or Ray on this machine.

    Args:
        address: ``auto`` or ``HOST:PORT``; None uses the cluster this process is connected to, or starts Ray on this machine until the scan ends.

    Raises:
        ConfigError: Ray is not installed, or no cluster answers.
    """

    def __init__(self, address: str | None) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # a scan never phones home, nor does what it starts
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what matters is raised; the rest is in the workers' logs
        try:
            import ray
            import ray.data
        except ImportError as error:
            raise ConfigError("--engine ray", f"Ray is not installed ({error})", "pip install 'imagenet-audit[ray]', on every machine") from None
        if address is not None and "://" in address:
            raise ConfigError("--address", f"{address!r} is a Ray Client's address", "run the scan on a machine of the cluster, with --address auto")
        self._address, self._ray, self._ending = address, ray, ExitStack()

    def __enter__(self) -> Self:
        if not self._ray.is_initialized():
            if self._address is not None:
                joining.prepare(self._address)
            local = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"} if self._address is None else {}
            try:
                self._ray.init(self._address or "local", log_to_driver=False, logging_level=logging.ERROR, **local)
            except (ConnectionError, RuntimeError, ValueError) as error:
                problem = f"no Ray cluster answers ({' '.join(str(error).split())[:160]})"
                raise ConfigError(f"--address {self._address}", problem, "start one with: ray start --head, or leave --address out") from None
            self._ending.callback(self._ray.shutdown)
        self._ending.enter_context(last_word(_LAST_WORD))
        settings = self._ray.data.DataContext.get_current()
        settings.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def place(self, *, device: str, precision: str) -> Placement:
        """Decide on a worker what the backbone runs on: its GPU where the cluster has one and the processor is not asked for."""
        if device.startswith("cuda:"):
            raise BackboneError(device, "Ray gives each actor a GPU of its own choice", "use --device cuda, or a scan without --engine ray")
        on_gpu = device != "cpu" and self._resource("GPU") > 0
        if device == "cuda" and not on_gpu:
            raise BackboneError(device, "the Ray cluster has no GPU", "use --device cpu, or add machines with GPUs")
        found: Placement = self._ask_a_worker(_placement, device if on_gpu else "cpu", precision, on_gpu=on_gpu)
        return found

    def ingest(self, job: Job, note: Callable[[str], None]) -> Iterator[Ingested]:
        """Read and embed images in actors, one per CPU or per GPU; an actor or a machine that is lost has its unfinished blocks read again."""
        on_gpu = job.placement.runtime == "PyTorch"
        there = room(self._machines(), on_gpu=on_gpu, workers=job.workers)
        if not on_gpu:
            runtime.prepare(job.backbone, job.placement, note)  # once for all actors of this machine
        size = job.batch_size * _BATCHES_PER_BLOCK * (runtime.BATCHES_TOGETHER if on_gpu else 1)
        blocks = [
            pa.table({"row": job.rows[start : start + size], "source_ref": job.source_refs.slice(start, size)})
            for start in range(0, len(job.rows), size)
        ]
        note(f"Ray: {len(blocks)} blocks of images for up to {there.actors} actors on {len(self._machines())} machines")
        reader = _Settings(
            job.source, job.backbone, job.placement, job.max_pixels, job.batch_size, there.processes, _proof(job), _fingerprint(), job.known
        )
        results = self._ray.data.from_arrow(blocks).map_batches(
            _Reader,
            fn_constructor_args=(reader,),
            batch_size=size,  # a block; without a size Ray hands nothing to a GPU
            batch_format="pyarrow",
            compute=self._ray.data.ActorPoolStrategy(min_size=1, max_size=there.actors),
            num_cpus=there.cpus,
            num_gpus=1 if on_gpu else None,
        )
        with _explained():
            for table in results.iter_batches(batch_size=None, batch_format="pyarrow"):
                yield _from_table(table, job.backbone.dimension)

    def backend(self, device: str) -> Backend:
        """Decide on a worker with a GPU, where the cluster has one, what compares many rows with all others."""
        from audit.neighbors.backends import PROCESSORS

        if device == "cpu" or not self._resource("GPU"):
            return PROCESSORS
        found: Backend = self._ask_a_worker(_backend, device, on_gpu=True)
        return found

    def search(
        self, work: BlockSearch, embeddings: npt.NDArray[np.float16], blocks: list[npt.NDArray[np.int64]]
    ) -> Iterator[tuple[npt.NDArray[np.int64], Found]]:
        """Search blocks of rows in tasks; the embeddings lie in the cluster's store in shards that each machine fetches once.

        Ray leaves every GPU visible to tasks that ask for none; they use none, because what they compare with is decided and sent with the work.
        """
        ray = self._ray
        there = room(self._machines(), on_gpu=work.on_gpu)
        size = _SHARD_ROWS
        shards = [ray.put(np.asarray(embeddings[start : start + size])) for start in range(0, len(embeddings), size)]
        everything = ray.put((work, shards, size))
        task = ray.remote(num_cpus=1, num_gpus=int(work.on_gpu), max_retries=-1)(_search)
        ahead = there.actors * _SEARCHES_AHEAD_PER_ACTOR
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
        room(self._machines(), on_gpu=on_gpu)
        with _explained():
            return self._ray.get(self._ray.remote(num_cpus=1, num_gpus=int(on_gpu))(question).remote(*arguments))

    def _resource(self, name: str) -> float:
        return float(self._ray.cluster_resources().get(name, 0))

    def _machines(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]


@dataclass(frozen=True, slots=True)
class _Settings:
    """All that an actor needs."""

    source: Any
    backbone: Any
    placement: Placement
    max_pixels: int
    batch_size: int
    processes: Mapping[str, int]
    """See `audit.engines.ray.capacity.Room`."""
    proof: tuple[str, str] | None
    """A reference and the digest of its bytes, as the driver reads them."""
    fingerprint: str
    known: KnownContents | None


class _Reader:
    """An actor: reads blocks with worker processes of its own, so that an image that kills a decoder costs only itself."""

    def __init__(self, settings: _Settings) -> None:
        _prove(settings)
        model = runtime.prepare(settings.backbone, settings.placement, lambda _: None, batch_size=settings.batch_size)
        shared = model if isinstance(model, OnnxModel) else None
        self._embedder = None if isinstance(model, OnnxModel) else model
        recipe = Recipe(settings.source, settings.backbone.preprocessing, settings.max_pixels, shared, settings.known)
        self._workers = Workers(recipe, settings.processes.get(_machine(), 1), settings.batch_size)
        self._batch_size = settings.batch_size

    def __call__(self, block: pa.Table) -> pa.Table:
        rows, refs = block["row"].to_numpy(), block["source_ref"]
        size = self._batch_size
        chunks = (Chunk(rows[start : start + size], refs.slice(start, size).to_pylist()) for start in range(0, len(rows), size))
        parts = self._workers.measure(chunks)
        if self._embedder is not None:
            parts = embed_together(parts, self._embedder)
        return pa.concat_tables([_to_table(part) for part in parts])


class _Shards:
    """Embeddings in the cluster's store, ``size`` rows a part, read as ``shards[rows]``."""

    def __init__(self, parts: list[npt.NDArray[np.float16]], size: int) -> None:
        self._parts, self._size = parts, size

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
        found = np.empty((len(rows), self._parts[0].shape[1]), np.float16)
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
    """Return the work and the embeddings, mapped from this machine's store; kept, because one process searches many blocks."""
    import ray

    work, shards, size = ray.get(everything)
    return work, _Shards(ray.get(shards), size)


def _to_table(part: Ingested) -> pa.Table:
    table = pa.Table.from_pylist(part.measures, MEASURES).add_column(0, "row", pa.array(part.rows))
    for name, array in (("thumbnail", part.thumbnails), ("embedding", part.embeddings)):
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
        None,
        unpacked("embedding", np.float16, dimension),
    )


def _machine() -> str:
    """Return the id of the machine that this actor runs on."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def _placement(device: str, precision: str) -> Placement:
    return runtime.place(device=device, precision=precision)


def _backend(device: str) -> Backend:
    from audit.neighbors import backends

    return backends.on_this_machine(device)


def _fingerprint() -> str:
    """Return what has to be the same everywhere for rows to be the same."""
    return ", ".join(f"{name} {version(name)}" for name in ("imagenet-audit", "numpy", "pillow", "opencv-python-headless"))


def _proof(job: Job) -> tuple[str, str] | None:
    for ref in job.source_refs.slice(0, _PROBED).to_pylist():
        try:
            return ref, hashlib.sha256(job.source.read(ref)).hexdigest()
        except Exception:  # noqa: BLE001, S112  storage libraries raise their own kinds; what no one can read proves nothing
            continue
    return None


def _prove(settings: _Settings) -> None:
    """Refuse to work where results would differ: another release, another placement, another dataset under the same name."""
    here = platform.node()
    if _fingerprint() != settings.fingerprint:
        raise ConfigError(
            f"--engine ray: {here}", f"has {_fingerprint()}; the driver has {settings.fingerprint}", "install the same releases everywhere"
        )
    device = "cpu" if settings.placement.device == "cpu" else "cuda"
    mine = runtime.place(device=device, precision=settings.placement.precision)
    if mine != settings.placement:
        raise BackboneError(here, f"would embed in {mine}, others in {settings.placement}", "ask for --precision float32")
    if settings.proof is None:
        return
    ref, digest = settings.proof
    try:
        found = hashlib.sha256(settings.source.read(ref)).hexdigest()
    except Exception as error:  # noqa: BLE001  storage libraries raise their own kinds
        found = " ".join(str(error).split())[:160]
    if found != digest:
        problem = f"{here} does not read there what the driver reads (image {ref}: {found})"
        raise SourceError(settings.source.location, problem, "put the dataset where every machine of the cluster reaches it under this name")


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what Ray raises into an error of this package: a worker's own where it raised one."""
    import ray.exceptions

    try:
        yield
    except ray.exceptions.RayError as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, AuditError):
                raise type(cause)(cause.where, cause.problem, cause.hint) from None
            cause = getattr(cause, "cause", None) or cause.__cause__
        last = str(error).strip().splitlines()[-1]  # of an actor that refused to start, Ray keeps the words alone
        if (refused := re.fullmatch(r"audit\.errors\.\w+: (.+); (.+)", last)) is not None:
            raise ConfigError("--engine ray", refused[1], refused[2]) from None
        raise ConfigError("--engine ray", last[:300], "see the workers' logs; the same command continues the scan") from error
