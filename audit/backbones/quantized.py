"""Quantise an exported image tower to 8-bit integers, which processors with such units run two to four times as fast.

Weights are scaled per output channel; activations per tensor, to the range that they take on photographs (static post-training quantisation; Jacob et
al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", arXiv:1712.05877).
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from audit.backbones.base import ONNX_BATCH
from audit.images.photographs import parts_of_photographs

if TYPE_CHECKING:
    import numpy.typing as npt

    from audit.backbones.base import Preprocessing

_QUANTISED = ["Conv", "Add", "Clip", "GlobalAveragePool"]
"""Operators that run in integers. What follows the pooling stays in float32: it takes no time, and scaling to length 1 needs its precision."""


def quantized(exported: Path, preprocessing: Preprocessing) -> bytes:
    """Return the ONNX file of an exported image tower with weights and activations of 8 bits.

    Args:
        exported: the tower in float32.
        preprocessing: makes the tower's input.
    """
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the type checker skips the runtime
        def __init__(self) -> None:
            self._batches = photographs(preprocessing)

        def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
            batch = next(self._batches, None)
            return None if batch is None else {"pixels": batch}

    with tempfile.TemporaryDirectory(prefix="imagenet-audit-") as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        quantize_static(
            exported,
            path,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_QUANTISED,
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return path.read_bytes()


def photographs(preprocessing: Preprocessing) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield real photographs as full batches of a tower's input, uint8 ``[ONNX_BATCH, s, s, 3]``."""
    parts = parts_of_photographs()
    for start in range(0, len(parts) - ONNX_BATCH + 1, ONNX_BATCH):
        yield np.stack([preprocessing.prepare(part) for part in parts[start : start + ONNX_BATCH]])


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the root logger's warning that the model was not optimised first: the exporter has done that."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
