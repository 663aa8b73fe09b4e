"""Fine-tuned predictions: read the images at the training size, and fine-tune the backbone in every fold."""

from __future__ import annotations

import dataclasses
import shutil
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from audit.backbones.placement import own_device
from audit.errors import ConfigError, reason
from audit.ingest.chunks import Chunk, Recipe
from audit.ingest.workers import ingest
from audit.io.artifacts import create_array, filling, open_array, read_json, release, write_json
from audit.io.blocks import blocks
from audit.pairs.duplicate_sets import connected_sets
from audit.pipeline.code_digest import code_digest
from audit.predictions.finetune import FineTuning, best_mixture, fine_tune
from audit.predictions.out_of_sample import out_of_sample
from audit.processes import available_cpus
from audit.run.record import digest_of, key_of

if TYPE_CHECKING:
    from pathlib import Path

    from audit.backbones import Backbone
    from audit.pipeline.stage import Scan

_FOLDER = "state/finetune"
"""Pixels and finished folds of an interrupted fine-tuning; removed at its end."""

_LEAST_SIDE, _MOST_ON_CPU, _ENLARGED = 64, 96, 3
"""Smallest side, the largest on a CPU, and the factor by which small images are enlarged, in multiples of 32 pixels."""

_ROWS_AT_ONCE = 256


def refuse_unsuitable(backbone: Backbone) -> None:
    """Refuse a backbone without weights that can be trained. Raises ConfigError."""
    if backbone.cpu_model is not None:
        problem = f"{backbone.name} cannot be trained: it is a program"
        raise ConfigError("--predict finetune", problem, "use an embedded, clip or timm backbone, or a .safetensors file")


def fine_tuned(scan: Scan, labels: npt.NDArray[np.int32], embeddings: npt.NDArray[np.float16]) -> dict[str, object]:
    """Write ``predictions.npy`` with networks fine-tuned in every fold, mixed with the models on embeddings.

    Args:
        scan: the scan.
        labels: int32 ``[n]`` class codes; -1 = unlabelled.
        embeddings: float16 ``[n, d]``; NaN rows for none.

    Returns:
        Facts for the run's record.

    Raises:
        ConfigError: the backbone cannot be trained at this size.
    """
    options, rows, store = scan.options, len(scan.samples), scan.run / _FOLDER
    device, side = own_device(options.device), _side(scan)
    groups = connected_sets(scan.pairs, rows, scan.samples["group"])
    seen = key_of(digest_of(scan.images), side)
    pixels = _pixels(scan, store, side, seen)
    work = FineTuning(
        build=scan.backbone.build,
        dimension=scan.backbone.dimension,
        pixels=pixels,
        labels=labels,
        groups=groups,
        usable=(scan.samples["outcome"] == "ok").to_numpy(bool),
        images=scan.images,
        device=device,
        seed=options.seed,
    )
    inputs = (seen, digest_of(labels), digest_of(groups), scan.backbone.weights_id, device, options.seed, code_digest("audit.predictions.finetune"))
    with filling(scan.run / "predictions.npy", (rows, len(scan.classes)), np.float32) as into:
        try:
            found = fine_tune(work, store, key_of(*inputs), scan.observer, into=into)
        except (RuntimeError, AssertionError, ValueError) as error:
            problem = f"{scan.backbone.name} cannot be trained at {side} px: {reason(error)}"
            raise ConfigError("--predict finetune", problem, "use another --finetune-pixels or --backbone") from error
        facts = {**found.record, "weight": _mix(into, labels, embeddings, groups, scan)}
    del found, into, work, pixels  # mapped files without references can be removed
    shutil.rmtree(store)
    return facts


def _mix(
    tuned: npt.NDArray[np.float32], labels: npt.NDArray[np.int32], embeddings: npt.NDArray[np.float16], groups: npt.NDArray[np.int64], scan: Scan
) -> float:
    """Mix predictions in place with those of the models on embeddings, from the same folds; return the weight of the fine-tuned ones."""
    embedded = out_of_sample(embeddings, labels, groups, images=scan.images, seed=scan.options.seed).probabilities
    both = np.isfinite(tuned[:, 0]) & np.isfinite(embedded[:, 0])
    weight = best_mixture(tuned, embedded, labels, np.flatnonzero(both & (labels >= 0)))
    for part in blocks(np.flatnonzero(both), tuned.shape[1]):
        tuned[part] = weight * tuned[part] + (1 - weight) * embedded[part]
    return round(weight, 2)


def _side(scan: Scan) -> int:
    """Return the side of the training images: by the option, else by the images' size, the backbone and the device."""
    own = scan.backbone.preprocessing.input_size
    if scan.options.finetune_pixels is not None:
        if not scan.backbone.any_size and scan.options.finetune_pixels != own:
            raise ConfigError("--finetune-pixels", f"{scan.backbone.name} takes images of {own} px only", f"use {own}, or remove the option")
        return scan.options.finetune_pixels
    if not scan.backbone.any_size:
        return own
    usual = float(scan.samples[["width", "height"]].min(axis=1).median()) * _ENLARGED
    most = own if own_device(scan.options.device) != "cpu" else min(own, _MOST_ON_CPU)
    return int(np.clip(32 * np.ceil(usual / 32), _LEAST_SIDE, most))


def _pixels(scan: Scan, store: Path, side: int, key: str) -> npt.NDArray[np.uint8]:
    """Map the images at the training size, ``[n, side, side, 3]``; read them unless an interrupted scan has."""
    path, rows = store / "pixels.npy", len(scan.samples)
    done = store / "pixels.json"
    if done.is_file() and read_json(done) == key:
        return open_array(path, rows, kind="u", dimensions=4)
    store.mkdir(parents=True, exist_ok=True)
    scan.observer.stage("training images", rows)
    into = create_array(path, (rows, side, side, 3), np.uint8)
    preprocessing = dataclasses.replace(scan.backbone.preprocessing, input_size=side, resize=side)
    readable = np.flatnonzero((scan.samples["outcome"] == "ok").to_numpy(bool))
    refs = scan.samples["source_ref"].to_numpy(object)
    batch = scan.options.batch_size
    parts = (readable[start : start + batch] for start in range(0, len(readable), batch))
    chunks = (Chunk(part, refs[part].tolist()) for part in parts)
    limits = {"max_bytes": scan.options.max_bytes, "seconds": scan.options.seconds_per_image, "ranges": scan.plan.get("ranges", {})}
    recipe = Recipe(scan.source, preprocessing, scan.options.max_pixels, None, **limits)
    workers = scan.options.workers or available_cpus()
    for number, found in enumerate(ingest(chunks, len(readable), recipe, None, workers=workers, together=batch)):
        into[found.rows] = found.inputs
        scan.observer.advance(len(found.rows))
        if number % _ROWS_AT_ONCE == 0:
            release(into)
    into.flush()
    write_json(done, key)
    return open_array(path, rows, kind="u", dimensions=4)
