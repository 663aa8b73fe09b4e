"""Out-of-sample class probabilities from networks fine-tuned end to end, one per fold.

Each fold's network starts from the backbone and trains on the images of the other folds. Its loss is plain cross-entropy first, then generalised
cross-entropy (Zhang & Sabuncu 2018, arXiv:1805.07836), which an image whose label the network doubts bends less. Networks learn what most labels
agree on before they memorise single ones (Arpit et al. 2017, arXiv:1706.05394): training stops when the agreement with labels that it does not train
on no longer rises. A finished fold is stored, so that an interrupted scan resumes at the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from audit.errors import AuditError, RunError
from audit.io.artifacts import read_arrays, replacing
from audit.io.blocks import blocks, some_of
from audit.predictions.calibration import best_temperature, most_to_calibrate
from audit.predictions.folds import folds_of, keys_of, numbered, order_of_images
from audit.predictions.out_of_sample import FOLDS, Predictions, own_class_unseen
from audit.predictions.predictor import log_of, tempered

if TYPE_CHECKING:
    import torch

    from audit.io.progress import Observer

Pixels = npt.NDArray[np.uint8]

_BATCH = 64
_STEPS_WANTED = 2_400
_EPOCHS = (4, 16)
"""Fewest and most epochs; between them, about `_STEPS_WANTED` batches."""

_RATE, _HEAD_RATE, _DECAY = 7e-4, 5e-3, 0.02
_NORM_MOMENTUM = 0.1
"""Share of a batch in the running statistics of batch normalisation. Published networks have 0.01, too slow for a few hundred batches."""

_PLAIN_PART = 0.3
"""Part of the training with plain cross-entropy."""

_Q = 0.5
"""Exponent of the generalised cross-entropy: 0 is cross-entropy, 1 the mean absolute error."""

_HELD_SHARE, _MOST_HELD, _PATIENCE = 0.05, 1_000, 2
"""Share and largest number of training images that only decide when to stop, and the epochs without a gain after which training stops."""

_SCALES, _SHIFT = (0.75, 1.0), 0.1
"""Augmentation: range of the visible side, and largest shift, as parts of the image. Images are not mirrored: that turns some signs into others."""

_CALIBRATION_ROWS = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuning:
    """What is fine-tuned, and on what."""

    build: Callable[[], torch.nn.Module]
    """Builds the backbone's image tower: ``[b, s, s, 3]`` pixels -> ``[b, dimension]``."""
    dimension: int
    pixels: Pixels
    """``[n, s, s, 3]``; may be memory-mapped."""
    labels: npt.NDArray[np.int32]
    """``[n]`` class codes; -1 = unlabelled."""
    groups: npt.NDArray[np.int64]
    """``[n]``; images that must not be divided between folds share a number."""
    usable: npt.NDArray[np.bool_]
    """``[n]`` images that could be read."""
    images: npt.NDArray[np.bytes_]
    """``[n]`` digest of each image, which makes the result independent of the order of rows."""
    device: str = "cpu"
    seed: int = 0


def fine_tune(work: FineTuning, store: Path, key: str, observer: Observer, into: npt.NDArray[np.float32] | None = None) -> Predictions:
    """Predict every image with networks that saw neither it nor its copies and group.

    Args:
        work: what is fine-tuned.
        store: folder for finished folds, created if missing.
        key: digest of all inputs; stored folds of another key are ignored.
        observer: receives the expected time and the progress.
        into: float32 ``[n, c]`` output array, such as a memory-mapped file; None for a new array.

    Returns:
        float32 ``[n, c]`` with c = the highest code + 1; NaN rows as in `audit.predictions.out_of_sample.out_of_sample`.

    Raises:
        AuditError: fewer than two classes, all images in one group, or the network cannot be trained.
    """
    labels, classes = work.labels, int(work.labels.max(initial=-1)) + 1
    order, column = order_of_images(work.images, labels, classes)
    fold = np.empty(len(labels), np.int8)
    ranked, keys = np.append(column, -1)[labels[order]].astype(np.int32), keys_of(work.images[order])
    fold[order] = folds_of(ranked, numbered(work.groups[order]), work.usable[order], FOLDS, work.seed, keys)
    kept = int(fold.max()) + 1
    judged = (fold >= 0) & (labels >= 0)
    chosen = order[judged[order]]
    store.mkdir(parents=True, exist_ok=True)
    missing = [number for number in range(kept) if _stored(store, number, key) is None]
    epochs = epochs_of(len(chosen))
    steps = epochs * len(chosen) * (kept - 1) // kept
    observer.stage("fine-tuning", kept * steps)
    observer.advance((kept - len(missing)) * steps)
    if missing:
        observer.note(_announcement(work, classes, len(missing), steps, epochs))
    trained = []
    for number in missing:
        began = time.perf_counter()
        others = chosen[fold[chosen] != number]
        network, agreements = train_fold(work, others, column, classes, epochs, number, observer.advance)
        rows = order[work.usable[order] & ((fold[order] == number) | (fold[order] < 0))]
        predicted = predict(network, work, rows)[:, column]
        with replacing(store / f"fold-{number}.npz") as file:
            np.savez(file, allow_pickle=False, key=np.array(key), rows=rows, probabilities=predicted, agreements=np.array(agreements))
        trained.append(round(time.perf_counter() - began, 1))
    stored = [found for number in range(kept) if (found := _stored(store, number, key)) is not None]
    if len(stored) != kept:
        raise RunError(store, "finished networks' predictions were removed while they were needed", "run the same command again")
    probabilities = np.empty((len(labels), classes), np.float32) if into is None else into
    return Predictions(probabilities, {**_gathered(work, fold, stored, order[judged[order]], probabilities), "fold_seconds": trained}, fold)


def _gathered(
    work: FineTuning,
    fold: npt.NDArray[np.int8],
    stored: Sequence[Mapping[str, npt.NDArray[Any]]],
    judged: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float32],
) -> dict[str, Any]:
    """Write the folds' predictions, calibrated by one temperature; return the details for the record."""
    labels, (rows, classes), kept = work.labels, probabilities.shape, len(stored)
    probabilities[:] = 0
    for found in stored:
        # Unlabelled images without a labelled copy are predicted by the mean of all folds.
        probabilities[found["rows"]] += found["probabilities"] / np.where(fold[found["rows"]] < 0, kept, 1)[:, None].astype(np.float32)
    probabilities[~work.usable | own_class_unseen(labels, fold, classes, kept)] = np.nan
    known = judged[np.isfinite(probabilities[judged, 0])]
    temperature = 1.0
    if len(known):
        sample = some_of(known, most_to_calibrate(_CALIBRATION_ROWS, classes), seed=work.seed)
        temperature = best_temperature(log_of(probabilities[sample]), labels[sample].astype(np.int64))
        for part in blocks(np.arange(rows), classes):
            probabilities[part] = tempered(probabilities[part], temperature)
    return {
        "method": "finetune",
        "folds": np.bincount(fold[judged], minlength=kept).tolist(),
        "trained_on": len(judged),
        "pixels": int(work.pixels.shape[1]),
        "agreement": [round(float(found["agreements"].max()), 4) for found in stored],
        "temperature": temperature,
        "not_judged": len(judged) - len(known),
    }


def _stored(store: Path, number: int, key: str) -> dict[str, npt.NDArray[Any]] | None:
    """Return what a finished fold left; None if there is nothing, it is corrupt, or its inputs were others."""
    path = store / f"fold-{number}.npz"
    try:
        found = read_arrays(path, "key", "rows", "probabilities", "agreements") if path.is_file() else {}
    except RunError:
        return None
    return dict(found) if found and str(found["key"]) == key else None


def best_mixture(
    tuned: npt.NDArray[np.float32], embedded: npt.NDArray[np.float32], labels: npt.NDArray[np.int32], rows: npt.NDArray[np.int64]
) -> float:
    """Return the weight of the fine-tuned networks, 0 to 1, that gives the labels of some rows the highest out-of-sample likelihood.

    Args:
        tuned: ``[n, c]`` probabilities of the fine-tuned networks.
        embedded: ``[n, c]`` probabilities of the models on embeddings, from the same folds.
        labels: ``[n]`` class codes.
        rows: labelled rows with both predictions.
    """
    one, other = (np.asarray(found[rows, labels[rows]], np.float64) for found in (tuned, embedded))
    weights = np.linspace(0, 1, 21)
    return (
        float(weights[np.argmax([np.log(np.maximum(weight * one + (1 - weight) * other, 1e-12)).mean() for weight in weights])]) if len(rows) else 1.0
    )


def epochs_of(images: int) -> int:
    """Return the most epochs for this number of labelled images: about `_STEPS_WANTED` batches."""
    return int(np.clip(round(_STEPS_WANTED * _BATCH / max(images, 1)), *_EPOCHS))


def _announcement(work: FineTuning, classes: int, folds: int, steps: int, epochs: int) -> str:
    seconds = folds * steps * seconds_per_image(work, classes)
    shown = f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
    if seconds >= 5400:
        shown = f"{seconds / 3600:.1f} h"
    what = f"fine-tuning {folds} networks, up to {epochs} epochs at {work.pixels.shape[1]} px, on {work.device}: about {shown} or less"
    return f"{what}; each finished network is kept if the scan is interrupted"


def seconds_per_image(work: FineTuning, classes: int) -> float:
    """Measure the time that one training step takes per image."""
    rows = np.flatnonzero(work.usable & (work.labels >= 0))[:_BATCH]
    network, optimizer = _network(work, classes, 2)
    labels = np.zeros(len(rows), np.int64)
    for repeat in range(2):  # the first step loads kernels
        began = time.perf_counter()
        _step(network, optimizer, work, rows, labels, np.ones(classes, np.float32), _Q, np.random.default_rng(repeat))
    return (time.perf_counter() - began) / len(rows)


def _network(work: FineTuning, classes: int, number: int) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    import torch

    torch.manual_seed(work.seed * FOLDS + number)
    tower = work.build()
    head = torch.nn.Linear(work.dimension, classes)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    network = torch.nn.Sequential(tower, head).to(work.device, memory_format=torch.channels_last)
    own = [parameter for parameter in tower.parameters() if parameter.is_floating_point()]
    if not own:
        raise AuditError("--predict finetune", "the backbone has no weights that can be trained", "use an embedded, clip or timm backbone")
    for module in tower.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):  # noqa: SLF001  the common base has no other name
            module.momentum = _NORM_MOMENTUM
    for parameter in own:
        parameter.requires_grad_(True)  # noqa: FBT003
    groups = [{"params": own, "lr": _RATE}, {"params": list(head.parameters()), "lr": _HEAD_RATE}]
    return network, torch.optim.AdamW(groups, weight_decay=_DECAY)


def train_fold(
    work: FineTuning,
    rows: npt.NDArray[np.int64],
    column: npt.NDArray[np.int64],
    classes: int,
    epochs: int,
    number: int,
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[torch.nn.Module, list[float]]:
    """Train one fold's network.

    Args:
        work: what is fine-tuned.
        rows: ``[m]`` training images.
        column: ``[c]`` output of each class.
        classes: number of classes.
        epochs: most epochs.
        number: of the fold; decides its random numbers.
        advance: called with the number of images of each step.

    Returns:
        The best network, and the agreement with the labels that only decide when to stop, after each epoch.
    """
    import torch

    draw = np.random.default_rng((work.seed, number))
    held = _held_out(numbered(work.groups[rows]), draw)
    train, watched = rows[~held], rows[held]
    targets = column[work.labels[train]]
    weight = _class_weights(targets, classes)
    state = torch.random.get_rng_state()
    network, optimizer = _network(work, classes, number)
    total = epochs * -(-len(train) // _BATCH)
    rates = [group["lr"] for group in optimizer.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=total + 1, pct_start=0.15, cycle_momentum=False)
    best, agreements, step = None, [], 0
    promised, done = epochs * len(rows), 0
    for epoch in range(epochs):
        for part in _batches(len(train), draw):
            q = _Q if step >= _PLAIN_PART * total else 0.0
            _step(network, optimizer, work, train[part], targets[part], weight, q, draw)
            schedule.step()
            step += 1
            advance(len(part))
            done += len(part)
        found = predict(network, work, watched).argmax(1) == column[work.labels[watched]] if len(watched) else np.ones(1, bool)
        agreements.append(float(found.mean()))
        if agreements[-1] >= max(agreements):
            best = {name: value.detach().clone() for name, value in network.state_dict().items()}
        if epoch - int(np.argmax(agreements)) >= _PATIENCE:
            break
    advance(max(0, promised - done))
    network.load_state_dict(best or network.state_dict())
    torch.random.set_rng_state(state)
    return network, agreements


def _held_out(groups: npt.NDArray[np.int64], draw: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Return which training images only decide when to stop: whole groups, about `_HELD_SHARE` of the images."""
    wanted = min(_MOST_HELD, int(_HELD_SHARE * len(groups)))
    numbers, of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    shuffled = draw.permutation(len(numbers))
    taken = shuffled[np.cumsum(sizes[shuffled]) <= wanted]
    return np.isin(of, taken)


def _class_weights(targets: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.float32]:
    """Return the weight of each class: the inverse square root of its size, 1 on average over images, at most 4."""
    sizes = np.bincount(targets, minlength=classes)
    weight = np.where(sizes > 0, 1 / np.sqrt(np.maximum(sizes, 1)), 0.0)
    weight /= max(float(weight[targets].mean()), 1e-12)
    return np.minimum(weight, 4).astype(np.float32)


def _batches(rows: int, draw: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the rows of each batch in random order; a last single row, of which batch normalisation has no variance, joins the one before."""
    parts = np.array_split(draw.permutation(rows), max(1, -(-rows // _BATCH)))
    yield from parts


def _step(
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    work: FineTuning,
    rows: npt.NDArray[np.int64],
    targets: npt.NDArray[np.int64],
    weight: npt.NDArray[np.float32],
    q: float,
    draw: np.random.Generator,
) -> None:
    import torch
    from torch.nn import functional

    network.train()
    pixels = _augmented(torch.from_numpy(work.pixels[rows]).to(work.device), draw)
    given = torch.from_numpy(targets).to(work.device)
    with _autocast(work.device):
        logits = network(pixels)
    losses = functional.cross_entropy(logits.float(), given, reduction="none")
    if q:
        losses = (1 - torch.exp(-q * losses)) / q
    weights = torch.from_numpy(weight).to(work.device)[given]
    optimizer.zero_grad(set_to_none=True)
    ((losses * weights).sum() / weights.sum().clamp(min=1e-6)).backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()


def _augmented(pixels: torch.Tensor, draw: np.random.Generator) -> torch.Tensor:
    """Return each image at a random scale and position, float ``[b, s, s, 3]``."""
    import torch
    from torch.nn import functional

    count = len(pixels)
    scale = draw.uniform(*_SCALES, count).astype(np.float32)
    shift = (draw.uniform(-1, 1, (count, 2)) * (1 - scale[:, None] + _SHIFT)).astype(np.float32)
    matrix = np.zeros((count, 2, 3), np.float32)
    matrix[:, 0, 0] = matrix[:, 1, 1] = scale
    matrix[:, :, 2] = shift
    planes = pixels.permute(0, 3, 1, 2).float()
    grid = functional.affine_grid(torch.from_numpy(matrix).to(pixels.device), list(planes.shape), align_corners=False)
    return functional.grid_sample(planes, grid, padding_mode="reflection", align_corners=False).permute(0, 2, 3, 1)


def predict(network: torch.nn.Module, work: FineTuning, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return class probabilities, float32 ``[m, c]``."""
    import torch

    network.eval()
    parts = [np.empty((0, network[1].out_features), np.float32)]
    with torch.inference_mode(), _autocast(work.device):
        for start in range(0, len(rows), 4 * _BATCH):
            logits = network(torch.from_numpy(work.pixels[rows[start : start + 4 * _BATCH]]).to(work.device)).float()
            parts.append(torch.softmax(logits, 1).cpu().numpy())
    return np.concatenate(parts)


def _autocast(device: str) -> torch.autocast:
    """Return mixed precision on a GPU with bfloat16; full precision elsewhere."""
    import torch

    kind = device.split(":", maxsplit=1)[0]
    return torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda" and torch.cuda.is_bf16_supported())
