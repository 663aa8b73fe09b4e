"""The fitted ensemble, stored to predict images that are added later."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audit.errors import RunError
from audit.io.artifacts import read_arrays, replacing
from audit.predictions.calibration import softmax
from audit.predictions.probes import MEMBERS, Member, Projection

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Predictor:
    """Predict calibrated class probabilities from embeddings: the mean of the members at one temperature."""

    projection: Projection
    members: Mapping[str, Member]
    """Members by their names in `audit.predictions.probes.MEMBERS`."""
    column: npt.NDArray[np.int64]
    """``[c]``: the members' column of each class."""
    temperature: float = 1.0

    def __call__(self, embeddings: npt.NDArray[np.float16], fold: npt.NDArray[np.int8]) -> Floats:
        """Return class probabilities.

        Args:
            embeddings: float16 ``[m, d]``, finite unit rows.
            fold: int8 ``[m]`` fold whose model saw neither the row nor its copies; -1 = mean of all folds.

        Returns:
            float32 ``[m, c]``; rows sum to 1.
        """
        features = self.projection(embeddings)
        mean: Floats = np.mean([member(features, fold) for member in self.members.values()], axis=0)[:, self.column]
        return mean if self.temperature == 1 else tempered(mean, self.temperature)

    def save(self, path: Path) -> None:
        """Write the arrays to an ``.npz`` file, atomically."""
        arrays = {f"projection.{name}": value for name, value in _fields(self.projection).items()}
        for member, fitted in self.members.items():
            arrays |= {f"{member}.{name}": value for name, value in _fields(fitted).items()}
        with replacing(path) as file:
            np.savez(file, allow_pickle=False, column=self.column, temperature=np.float64(self.temperature), **arrays)


def load_predictor(path: Path) -> Predictor:
    """Read what `Predictor.save` wrote. Raises RunError if the file is missing, corrupt, or has other members than `MEMBERS`."""
    arrays = read_arrays(path)
    try:
        members: dict[str, Member] = {name: _restored(kind, name, arrays) for name, (_, kind) in MEMBERS.items()}
        return Predictor(_restored(Projection, "projection", arrays), members, arrays["column"], float(arrays["temperature"]))
    except KeyError as error:
        raise RunError(path, f"not a fitted predictor (no array {error})", "delete it and scan again to refit the models") from error


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """Return probabilities made sharper (temperature < 1) or flatter (> 1): the softmax of their logarithms divided by it."""
    return softmax(log_of(probabilities) / np.float32(temperature))


def log_of(probabilities: Floats) -> Floats:
    """Return natural logarithms, clipped at log(1e-8)."""
    return np.asarray(np.log(np.maximum(probabilities, 1e-8)), dtype=np.float32)


def _fields(record: Any) -> dict[str, npt.NDArray[Any]]:
    return {field.name: np.asarray(getattr(record, field.name)) for field in dataclasses.fields(record)}


def _restored(kind: Any, prefix: str, arrays: Mapping[str, npt.NDArray[Any]]) -> Any:
    return kind(**{field.name: arrays[f"{prefix}.{field.name}"] for field in dataclasses.fields(kind)})
