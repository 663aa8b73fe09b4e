"""Backends of the neighbor search: the CPU, or a GPU that holds the base.

Both use FAISS's exhaustive search (Johnson, Douze & Jégou 2019, "Billion-scale similarity search with GPUs", arXiv:1702.08734), which multiplies in
float32 or float16 and adds in float32. `audit.neighbors.search` ranks the results again, so that they do not depend on the backend.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Protocol

import faiss
import numpy as np
import numpy.typing as npt

from audit.errors import AuditError, reason
from audit.processes import begin_worker, process_context

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]
Rows = npt.NDArray[np.int64]

BASE_BLOCK = 65_536
"""Rows that are read and converted at once."""

_SCRATCH = 3 * 2**30
"""Bytes of GPU memory reserved for FAISS (1.5 GiB), a block of queries and its results."""

_FLOAT_OF_HALF = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
"""Every float16 as a float32: a lookup is four times as fast as NumPy's conversion."""


def floats(embeddings: Halves, rows: Rows) -> Floats:
    """Return rows as float32."""
    return _FLOAT_OF_HALF[np.ascontiguousarray(embeddings[rows]).view(np.uint16)]


class Backend(Protocol):
    """Finds the nearest rows by inner product. Picklable, for use in other processes and on other machines."""

    on_gpu: bool
    queries: int
    """Best number of query rows per call."""
    reason: str
    """Why this backend was chosen instead of the requested one; else empty."""

    def room(self, dimension: int) -> int:
        """Return how many rows of a base can be held at once."""
        ...

    def hold(self, embeddings: Halves, base: Rows) -> Any:
        """Load rows of a base; releases the previous base, unless it is the same."""
        ...

    def nearest(self, embeddings: Halves, rows: Rows, held: Any, count: int) -> tuple[Floats, Rows]:
        """Return the ``count`` largest inner products of each row, float32 ``[m, count]``, and their positions in the base."""
        ...


class Processors:
    """All CPU cores of this machine."""

    on_gpu = False
    queries = 4096

    def __init__(self, reason: str = "") -> None:
        self.reason = reason

    def room(self, dimension: int) -> int:
        """See `Backend`."""
        del dimension
        return BASE_BLOCK

    def hold(self, embeddings: Halves, base: Rows) -> Floats:
        """See `Backend`."""
        return floats(embeddings, base)

    def nearest(self, embeddings: Halves, rows: Rows, held: Floats, count: int) -> tuple[Floats, Rows]:
        """See `Backend`."""
        scores, at = faiss.knn(floats(embeddings, rows), held, count, metric=faiss.METRIC_INNER_PRODUCT)
        return scores, at


PROCESSORS = Processors()


class Gpu:
    """One GPU.

    Args:
        device: PyTorch device.

    Raises:
        AuditError: from `hold` and `nearest`, if the GPU runs out of memory.
    """

    on_gpu = True
    queries = 65_536
    reason = ""

    def __init__(self, device: str) -> None:
        self._device = device
        self._room: int | None = None
        self._resources: Any = None
        self._held_of: tuple[Any, Any] = (None, None)
        self._held: Any = None

    def __reduce__(self) -> tuple[type[Gpu], tuple[str]]:
        return Gpu, (self._device,)

    def room(self, dimension: int) -> int:
        """See `Backend`; measured once, before the GPU holds anything."""
        import torch

        if self._room is None:
            torch.cuda.empty_cache()
            free, _ = torch.cuda.mem_get_info(self._device)
            self._room = rows_that_fit(free, dimension)
        return self._room

    def hold(self, embeddings: Halves, base: Rows) -> Any:
        """See `Backend`."""
        import torch

        if self._held_of[0] is not embeddings or self._held_of[1] is not base:
            self._held_of, self._held = (None, None), None  # release first: two parts may not fit
            first = embeddings[base[:1]]
            with _enough_memory(self._device):
                self._held = torch.empty((len(base), first.shape[1]), dtype=torch.float16, device=self._device)
            for start in range(0, len(base), BASE_BLOCK):
                block = np.ascontiguousarray(embeddings[base[start : start + BASE_BLOCK]])
                self._held[start : start + BASE_BLOCK].copy_(torch.from_numpy(block))
            self._held_of = embeddings, base
        return self._held

    def nearest(self, embeddings: Halves, rows: Rows, held: Any, count: int) -> tuple[Floats, Rows]:
        """See `Backend`."""
        import faiss.contrib.torch_utils  # FAISS takes PyTorch's tensors once this is imported
        import torch

        with torch.cuda.device(self._device), _enough_memory(self._device):
            if self._resources is None:
                self._resources = faiss.StandardGpuResources()
            queries = torch.from_numpy(np.ascontiguousarray(embeddings[rows])).to(self._device)
            scores, at = faiss.knn_gpu(self._resources, queries, held, count, metric=faiss.METRIC_INNER_PRODUCT)
            return scores.cpu().numpy(), at.cpu().numpy()


@contextmanager
def _enough_memory(device: str) -> Iterator[None]:
    import torch

    try:
        yield
    except torch.OutOfMemoryError:
        raise AuditError(device, "out of memory during the neighbor search", "free memory on the GPU, or use --device cpu") from None


def rows_that_fit(free: int, dimension: int) -> int:
    """Return how many float16 rows fit into the free bytes of a GPU beside scratch memory; at least one block."""
    return max(max(free - _SCRATCH, free // 2) // (2 * dimension), BASE_BLOCK)


def on_this_machine(device: str) -> Backend:
    """Return the backend for this machine: the GPU that ``device`` names if FAISS can use it, else the CPU."""
    from audit.backbones.placement import own_device

    own = own_device(device)
    if own == "cpu":
        return PROCESSORS
    fault = _fault_of(own) if faiss.get_num_gpus() else "this build of FAISS has no GPU support"
    return Gpu(own) if fault is None else Processors(f"neighbors are searched on the CPU, not on {own}: {fault}")


def _fault_of(device: str) -> str | None:
    """Return why FAISS cannot use a GPU, or None; tested in a separate process, which FAISS kills if its build does not support the GPU."""
    with ProcessPoolExecutor(1, mp_context=process_context(), initializer=begin_worker) as apart:
        try:
            return None if apart.submit(_agrees, device).result() else "FAISS returns different neighbors on it"
        except BrokenProcessPool:
            return "FAISS crashes on it"
        except Exception as error:  # noqa: BLE001  the libraries raise their own types, and the CPU remains
            return reason(error)


def _agrees(device: str) -> bool:
    vectors = np.random.default_rng(0).normal(size=(3000, 64))
    embeddings, rows = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16), np.arange(3000)
    found, expected = (on.nearest(embeddings, rows[:500], on.hold(embeddings, rows), 9)[0] for on in (Gpu(device), PROCESSORS))
    return bool(np.abs(found - expected).max() < 1e-3)
