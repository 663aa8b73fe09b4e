"""Small models on fixed embeddings, one per fold, fitted together: a softmax probe, a small network, kernel ridge regression, a neighbor vote.

A fitted member maps features and folds to class probabilities. A row with fold *f* is predicted by the model that never saw fold *f*; a row with
fold -1 by the mean of all folds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from audit.io.blocks import some_of
from audit.predictions.calibration import best_temperature, most_to_calibrate, softmax
from audit.predictions.similarity_models import MAX_REFERENCES, Ridge, Voters, fit_ridge, one_hot, unit_rows

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float32]


class Member(Protocol):
    """A fitted model of every fold: a frozen dataclass of arrays, so that it can be stored and loaded."""

    def __call__(self, features: Floats, fold: npt.NDArray[np.int8]) -> Floats:
        """Return float32 ``[m, c]`` class probabilities for ``[m, k]`` features."""
        ...


@dataclass(frozen=True, slots=True)
class Training:
    """Training data of the members: rows with an embedding and a label, at most `MAX_TRAINING_ROWS`."""

    features: Floats
    """``[m, k]`` projected features."""
    labels: npt.NDArray[np.int64]
    """``[m]`` class codes."""
    fold: npt.NDArray[np.int8]
    """``[m]`` in ``[0, folds)``."""
    folds: int
    classes: int
    seed: int
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class Projection:
    """Power-normalised, centred, partly whitened principal components.

    The signed square root (Perronnin et al. 2010) evens out a few dominant features: +2 to 3% average precision for every linear member. Dividing
    each component by the fourth root of its variance gives weight to small but informative directions.
    """

    mean: Floats
    axes: Floats
    """``[d, k]``."""

    def __call__(self, block: npt.NDArray[np.float16]) -> Floats:
        """Project ``[m, d]`` embeddings to float32 ``[m, k]``."""
        return np.asarray((power_normalized(block) - self.mean) @ self.axes, dtype=np.float32)


def power_normalized(block: npt.NDArray[np.float16]) -> Floats:
    """Return the signed square root of every value, float32."""
    rows = block.astype(np.float32)
    return np.asarray(np.sign(rows) * np.sqrt(np.abs(rows)), dtype=np.float32)


def fit_projection(rows: npt.NDArray[np.float16], width: int, *, at_once: int = 8192) -> Projection:
    """Fit the principal components of ``[m, d]`` finite embeddings, at most ``width``, scaled to unit mean variance."""
    dimension = rows.shape[1]
    total, gram = np.zeros(dimension), np.zeros((dimension, dimension))
    for start in range(0, len(rows), at_once):
        block = power_normalized(rows[start : start + at_once])
        total += block.sum(0, dtype=np.float64)
        gram += block.T @ block
    mean = total / len(rows)
    from scipy.linalg import eigh

    covariance = gram / len(rows) - np.outer(mean, mean)
    first = max(0, dimension - width)
    variance, axes = eigh(covariance, subset_by_index=(first, dimension - 1))
    variance, axes = variance[::-1], axes[:, ::-1]
    kept = variance > max(variance[0], 1e-12) * 1e-6
    if not kept.any():
        kept[0] = True
    variance, axes = np.maximum(variance[kept], 1e-12), axes[:, kept]
    # The sign of an axis is arbitrary; make its largest entry positive on every machine.
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
    axes = axes * variance**-0.25
    return Projection(mean.astype(np.float32), (axes / np.sqrt(np.mean(variance**0.5))).astype(np.float32))


@dataclass(frozen=True, slots=True)
class Network:
    """Every fold's network with one hidden layer, or none if ``first`` has no rows."""

    first: Floats
    """``[k, folds * hidden]``, or ``[0, 0]``."""
    first_bias: Floats
    """``[folds * hidden]``."""
    last: Floats
    """``[folds, hidden or k, c]``."""
    bias: Floats
    """``[folds, 1, c]``."""

    def __call__(self, features: Floats, fold: npt.NDArray[np.int8]) -> Floats:
        """Return the softmax of each row's fold; the mean of all folds for fold -1."""
        out = np.zeros((len(features), self.last.shape[2]), np.float32)
        for k in range(len(self.last)):
            mine = (fold == k) | (fold < 0)
            if mine.any():
                out[mine] += self._of_fold(features[mine], k)
        return np.asarray(out / np.where(fold < 0, len(self.last), 1)[:, None], dtype=np.float32)

    def _of_fold(self, features: Floats, k: int) -> Floats:
        width = self.last.shape[1]
        columns = slice(k * width, (k + 1) * width)
        layer = np.maximum(features @ self.first[:, columns] + self.first_bias[columns], 0) if len(self.first) else features
        return softmax(layer @ self.last[k] + self.bias[k])


def softmax_probe(training: Training) -> Network:
    """Fit multinomial logistic regression by AdamW with dropout on its inputs."""
    return _fit_network(training, hidden=0, epochs=6, rate=5e-3, decay=1e-2, dropout=0.0)


def small_network(training: Training) -> Network:
    """Fit one hidden layer of 256 rectified units, with dropout before and after it."""
    return _fit_network(training, hidden=256, epochs=5, rate=4e-3, decay=0.1, dropout=0.5)


_INPUT_DROPOUT = 0.2


_CELLS_FOR_THREADS = 1_000_000
"""Weights of a layer from which several threads are faster. Measured on two busy cores: 491,520 weights took 5.9 s with one thread, 8 to 41 s with
two."""


@contextmanager
def _best_threads(weights: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    if weights < _CELLS_FOR_THREADS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _fit_network(training: Training, *, hidden: int, epochs: int, rate: float, decay: float, dropout: float) -> Network:
    """Fit all folds' networks at once: every batch passes through all of them, and rows of a fold have weight 0 in its loss."""
    import torch
    from torch.nn import functional

    features = torch.from_numpy(training.features).to(training.device)
    labels = torch.from_numpy(training.labels).to(training.device)
    fold = torch.from_numpy(training.fold.astype(np.int64)).to(training.device)
    draw = torch.Generator(training.device).manual_seed(training.seed)
    rows, width = features.shape
    folds, classes = training.folds, training.classes
    batch = int(np.clip(rows // 20, 32, 512))
    # Few rows need more epochs, many rows fewer.
    epochs = round(epochs * float(np.clip(25_000 / rows, 0.4, 2)))

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw, device=training.device)

    inner = hidden or width
    last = torch.zeros(folds, inner, classes, device=training.device) if not hidden else normal(folds, inner, classes) * (1 / inner) ** 0.5
    bias = torch.zeros(folds, 1, classes, device=training.device)
    first = normal(width, folds * hidden) * (2 / width) ** 0.5
    first_bias = torch.zeros(folds * hidden, device=training.device)
    parameters = [last, bias, first, first_bias] if hidden else [last, bias]
    for parameter in parameters:
        parameter.requires_grad_(True)  # noqa: FBT003

    def forward(block: torch.Tensor, keep: float) -> torch.Tensor:
        if not hidden:
            flat = block @ last.permute(1, 0, 2).reshape(width, folds * classes)
            return flat.view(len(block), folds, classes).transpose(0, 1) + bias
        layer = torch.relu(torch.addmm(first_bias, block, first))
        layer = layer.view(len(block), folds, hidden)
        if keep < 1:
            # The folds share a mask: drawing random numbers costs more than the network.
            layer = layer * torch.empty(len(block), 1, hidden, device=training.device).bernoulli_(keep, generator=draw) / keep
        return torch.baddbmm(bias, layer.transpose(0, 1), last)

    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=True)
    steps = epochs * max(rows // batch, 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps + 1, pct_start=0.05, cycle_momentum=False)
    every = torch.arange(folds, device=training.device)[:, None]
    batches = (
        taken for _ in range(epochs) for taken in torch.randperm(rows, generator=draw, device=training.device).split(batch)[: max(rows // batch, 1)]
    )
    with _best_threads(width * folds * (hidden or classes)):
        for taken in batches:
            block = features[taken]
            block = block * torch.empty_like(block).bernoulli_(1 - _INPUT_DROPOUT, generator=draw) / (1 - _INPUT_DROPOUT)
            logits = forward(block, 1 - dropout)
            losses = functional.cross_entropy(logits.reshape(-1, classes), labels[taken].repeat(folds), reduction="none").view(folds, -1)
            seen = (fold[taken] != every).float()
            loss = ((losses * seen).sum(1) / seen.sum(1).clamp(min=1)).sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()

    def stored(parameter: torch.Tensor) -> Floats:
        return np.asarray(parameter.detach().cpu().numpy(), dtype=np.float32)

    none = torch.zeros(0, 0)
    return Network(stored(first if hidden else none), stored(first_bias if hidden else none[0:0].flatten()), stored(last), stored(bias))


@dataclass(frozen=True, slots=True)
class KernelRidge:
    """Every fold's ridge regression on similarities to landmarks."""

    landmarks: Floats
    """``[l, k]`` unit rows."""
    weights: Floats
    """``[folds, l + 1, c]``."""
    temperature: Floats
    """``[]`` divisor of the outputs before the softmax."""

    def __call__(self, features: Floats, fold: npt.NDArray[np.int8]) -> Floats:
        """Return the softmax of each row's fold; of the mean of all folds for fold -1."""
        return softmax(Ridge(self.landmarks, self.weights)(features, fold) / self.temperature)


_TEMPERATURE_ROWS = 10_000


def kernel_ridge(training: Training) -> KernelRidge:
    """Fit ridge regression on one-hot labels."""
    fitted = fit_ridge(training.features, one_hot(training.labels, training.classes), training.fold, training.folds, training.seed)
    sample = some_of(np.arange(len(training.labels)), most_to_calibrate(_TEMPERATURE_ROWS, training.classes), seed=training.seed)
    temperature = best_temperature(fitted(training.features[sample], training.fold[sample]), training.labels[sample])
    return KernelRidge(fitted.landmarks, fitted.weights, np.array(temperature, np.float32))


@dataclass(frozen=True, slots=True)
class NeighborVote:
    """Labelled rows, of which the nearest vote."""

    references: Floats
    """``[r, k]`` unit rows."""
    labels: npt.NDArray[np.int64]
    """``[r]``."""
    fold: npt.NDArray[np.int8]
    """``[r]``."""
    prior: Floats
    """``[c]`` shares of the classes."""

    def __call__(self, features: Floats, fold: npt.NDArray[np.int8]) -> Floats:
        """Return the votes of the nearest rows of other folds, weighted by similarity."""
        votes = Voters(self.references, one_hot(self.labels, len(self.prior)), self.fold)(features, fold)
        # Mix in 1% of the class frequencies, so that no class is impossible.
        return np.asarray(0.99 * votes + 0.01 * self.prior, dtype=np.float32)


def neighbor_vote(training: Training) -> NeighborVote:
    """Choose the rows that vote."""
    chosen = some_of(np.arange(len(training.labels)), MAX_REFERENCES, seed=training.seed)
    labels = training.labels[chosen]
    prior = np.bincount(labels, minlength=training.classes).astype(np.float32) / np.float32(len(chosen))
    return NeighborVote(unit_rows(training.features[chosen]), labels, training.fold[chosen], prior)


MEMBERS: dict[str, tuple[Callable[[Training], Member], type[Member]]] = {
    "softmax_probe": (softmax_probe, Network),
    "small_network": (small_network, Network),
    "kernel_ridge": (kernel_ridge, KernelRidge),
    "neighbor_vote": (neighbor_vote, NeighborVote),
}
"""The ensemble by name: the function that fits a member, and its class."""
