"""Export a backbone's image tower to ONNX, in the user's cache.

``IDENTITY-DIGEST.onnx``: the identity covers the model, its precision and the exporter; the digest is the SHA-256 of the file and is verified on
every use. With the digest in the name, one atomic rename publishes both, so that no writer can leave a digest with another file.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from pathlib import Path

from audit.backbones.base import ONNX_BATCH, Backbone
from audit.backbones.quantized import quantized
from audit.io.artifacts import replacing
from audit.io.user_cache import user_cache


def exported(backbone: Backbone, note: Callable[[str], None], *, int8: bool = False) -> Path:
    """Return the image tower as an ONNX file with the input ``pixels [ONNX_BATCH, s, s, 3]`` uint8, exporting it on first use.

    Args:
        backbone: the model.
        note: called with one line about slow steps and corrupt files.
        int8: whether to quantise it; see `audit.backbones.quantized`.

    Raises:
        BackboneError: the weights on this machine are not those of the backbone.
    """
    import onnxruntime

    if backbone.check_weights is not None:
        backbone.check_weights()  # a cached export must not hide replaced weights
    identity = f"{backbone.name}|{backbone.weights_id}|{backbone.preprocessing}|{ONNX_BATCH}|{onnxruntime.__version__}{'|int8' if int8 else ''}"
    name = hashlib.sha256(identity.encode()).hexdigest()[:24]
    folder = user_cache() / "onnx"
    cached = _cached(folder, name, note)
    if cached is not None:
        return cached
    problem = why_not_writable()
    if problem is not None:
        folder = Path(tempfile.mkdtemp(prefix="imagenet-audit-"))
        note(f"the cache cannot be written ({problem}); the prepared model is in {folder}")
    if int8:
        note(f"preparing {backbone.name} in int8")
        content = quantized(exported(backbone, note), backbone.preprocessing)
    else:
        note(f"preparing {backbone.name} for this CPU (once; cached in {folder})")
        content = _export(backbone)
    path = folder / f"{name}-{hashlib.sha256(content).hexdigest()}.onnx"
    with replacing(path) as file:
        file.write(content)
    return path


def why_not_writable() -> OSError | None:
    """Return why prepared models cannot be kept in the user's cache; None if they can."""
    folder = user_cache() / "onnx"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = tempfile.NamedTemporaryFile(dir=folder)  # noqa: SIM115  only tests whether the folder is writable
        probe.close()
    except OSError as error:
        return error
    return None


def _cached(folder: Path, name: str, note: Callable[[str], None]) -> Path | None:
    """Return an earlier export whose digest matches; delete corrupt ones."""
    for path in sorted(folder.glob(f"{name}-*.onnx")):
        with suppress(OSError), path.open("rb") as file:
            if path.stem == f"{name}-{hashlib.file_digest(file, 'sha256').hexdigest()}":
                return path
        note(f"{path}: corrupt: its SHA-256 does not match its name; the model is prepared again")
        with suppress(OSError):
            path.unlink()
    return None


def _export(backbone: Backbone) -> bytes:
    import io

    import torch

    side = backbone.preprocessing.input_size
    pixels = torch.zeros((ONNX_BATCH, side, side, 3), dtype=torch.uint8)
    with warnings.catch_warnings(), redirect_stdout(sys.stderr), torch.inference_mode():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        program = torch.onnx.export(
            backbone.build().eval(), (pixels,), input_names=["pixels"], output_names=["embeddings"], dynamo=True, verbose=False
        )
    buffer = io.BytesIO()
    program.save(buffer)
    return buffer.getvalue()
