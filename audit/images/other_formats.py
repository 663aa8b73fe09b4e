"""Formats that Pillow does not read by itself: DICOM, HEIC, JPEG XL and cameras' raw files, by packages that are optional."""

from __future__ import annotations

import importlib
import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from audit.images.deep import DNG_VERSION, SUB_IMAGES, SUBFILE, Values, tiff_fields
from audit.images.signatures import image_format


class Package(NamedTuple):
    """An optional package that reads a format."""

    module: str
    install: str


PACKAGES: Mapping[str, Package] = {
    "DICOM": Package("pydicom", "pip install 'imagenet-audit[dicom]'"),
    "HEIC": Package("pi_heif", "pip install 'imagenet-audit[heic]'"),
    "AVIF": Package("pi_heif", "pip install 'imagenet-audit[heic]'"),
    "JPEG XL": Package("pillow_jxl", "pip install pillow-jxl-plugin (GPL)"),
    "camera raw": Package("rawpy", "pip install 'imagenet-audit[raw]'"),
}


def other_format(data: bytes) -> str | None:
    """Return which of `PACKAGES` a file needs; None for a format that Pillow reads, or no image."""
    fields = tiff_fields(data[:65536])
    if fields and (DNG_VERSION in fields or (fields.get(SUBFILE) == 1 and SUB_IMAGES in fields) or data[8:10] == b"CR"):
        return "camera raw"
    name = image_format(data[:4096])
    return name if name in PACKAGES else None


def needed(name: str) -> str:
    """Return what a format is and what to install for it."""
    return f"{name}, which needs the package {PACKAGES[name].module}: {PACKAGES[name].install}"


def load(name: str) -> Any:
    """Import the package that reads a format. Raises ImportError with what to install."""
    try:
        return importlib.import_module(PACKAGES[name].module)
    except ImportError as error:
        raise ImportError(needed(name)) from error


def register(name: str) -> None:
    """Let Pillow read HEIC or JPEG XL. Raises ImportError with what to install."""
    package = load(name)
    if name in ("HEIC", "AVIF"):
        package.register_heif_opener()


def read_dicom(data: bytes, max_pixels: int) -> tuple[Values, str]:
    """Return the first frame of a DICOM file after its rescaling to physical units, and its mode. Raises any exception if it is corrupt.

    Gray values are ``[h, w]`` floats or integers, inverted for MONOCHROME1, so that more is brighter; colors are ``[h, w, 3]`` of 8 bits.
    """
    package = load("DICOM")
    dataset = package.dcmread(io.BytesIO(data))
    if int(dataset.get("Rows", 0)) * int(dataset.get("Columns", 0)) * int(dataset.get("NumberOfFrames", 1) or 1) > max_pixels:
        raise OverflowError(f"{dataset.get('Columns')} x {dataset.get('Rows')} pixels, more than the limit of {max_pixels}")
    from pydicom.pixels import apply_modality_lut, convert_color_space

    values = dataset.pixel_array
    if int(dataset.get("NumberOfFrames", 1) or 1) > 1:
        values = values[0]
    photometric = str(dataset.get("PhotometricInterpretation", ""))
    if values.ndim == 3:
        return (convert_color_space(values, photometric, "RGB") if photometric.startswith("YBR") else values), "RGB"
    values = np.asarray(apply_modality_lut(values, dataset))
    if values.dtype.kind == "f" and np.array_equal(values, np.rint(values)):
        values = values.astype(np.int32)
    return (values.max() + values.min() - values if photometric == "MONOCHROME1" else values), f"gray;{dataset.get('BitsStored', 16)}"


def read_raw(data: bytes, max_pixels: int) -> Values:
    """Return a camera's raw file as ``[h, w, 3]`` of 8 bits, developed with the camera's white balance at half size. Raises any exception."""
    package = load("camera raw")
    with package.imread(io.BytesIO(data)) as raw:
        if raw.sizes.width * raw.sizes.height > max_pixels:
            raise OverflowError(f"{raw.sizes.width} x {raw.sizes.height} pixels, more than the limit of {max_pixels}")
        return np.asarray(raw.postprocess(use_camera_wb=True, half_size=True))
