"""The tables of a run: names and types of all columns.

Row *i* is sample *i* in every table and array of a run. ``docs/run-format.md`` describes the format for readers without this package.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 1

THUMBNAIL_SIDE = 32
"""Side, in pixels, of the stored thumbnails; the aspect ratio is not kept."""

FEATURES, FEATURE_BYTES = 64, 20
"""Stored local features of an image, and bytes of each: ``audit.images.local_features.features``."""

OUTCOMES = ("ok", "empty", "missing", "unreadable", "truncated", "too_large", "crashed", "timed_out")
"""Outcomes of a listed image. Only ``ok`` rows have an embedding; all others count as failed."""

LISTING = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),  # path or key inside the source, '/' separated
        pa.field("source_ref", pa.string(), nullable=False),  # how the source locates the bytes
        pa.field("fingerprint", pa.string(), nullable=False),  # changes when the bytes may have changed; computed without reading them
        pa.field("split", pa.string()),
        pa.field("label", pa.string()),
        pa.field("labels", pa.list_(pa.string())),  # several labels; then `label` is null
        pa.field("metadata", pa.string()),  # JSON object of the manifest's other columns, or null
        pa.field("group", pa.string()),  # patient, product, video, session or sender, if a column or pattern was given
    ]
)
"""What a source lists about an image before its bytes are read."""

MEASURES = pa.schema(
    [
        pa.field("content_id", pa.string()),  # SHA-256 of the bytes, hex
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("byte_size", pa.int64()),
        pa.field("format", pa.string()),  # detected from the bytes: JPEG, PNG, ...
        pa.field("mode", pa.string()),  # as stored: RGB, L, CMYK, P, I;16, RGB;16, ...
        pa.field("width", pa.int32()),  # upright, after the EXIF orientation
        pa.field("height", pa.int32()),
        pa.field("frames", pa.int32()),
        pa.field("orientation", pa.int8()),  # EXIF orientation 1..8; 1 if absent
        pa.field("has_alpha", pa.bool_()),
        pa.field("exif_families", pa.list_(pa.string())),  # names only, never values: family/source of audit.images.metadata, such as gps/exif
        pa.field("appended", pa.string()),  # size and kind of data after the end of the image
        pa.field("camera", pa.string()),  # EXIF make and model
        pa.field("day_code", pa.int8()),  # 0..15, equal for images taken on one day; reveals the day to a reader who knows the week
        pa.field("encoder", pa.string()),  # of a JPEG: quality or digest of its luma quantization table, progressive
        pa.field("pixel_id", pa.string()),  # hash of size and upright decoded pixels, all channels as stored, hex
        pa.field("perceptual_hash", pa.uint64()),  # 64-bit DCT hash
        pa.field("brightness", pa.float32()),  # mean luma, 0..1
        pa.field("luma_p01", pa.float32()),  # percentiles of luma, 0..1
        pa.field("luma_p99", pa.float32()),
        pa.field("contrast", pa.float32()),  # standard deviation of luma, 0..0.5
        pa.field("sharpness", pa.float32()),  # log10(1 + variance of the Laplacian of 8-bit luma), >= 0
        pa.field("entropy", pa.float32()),  # bits per pixel of the luma histogram, 0..8
        pa.field("chroma", pa.float32()),  # 99th percentile of max(R,G,B) - min(R,G,B), 0..1; 0 = gray
        pa.field("embedding_norm", pa.float32()),  # length of the embedding before normalization
    ]
)
"""What reading and decoding an image measures. Everything but ``outcome`` is null if it could not be measured."""

SAMPLES = pa.schema([*LISTING, *MEASURES])

RELATIONS = ("identical_bytes", "identical_pixels", "re_encoded", "edited_copy", "same_scene")
"""Relations of a verified pair, from the most to the least certain."""

PAIRS = pa.schema(
    [
        pa.field("i", pa.int32(), nullable=False),  # rows of samples, i < j
        pa.field("j", pa.int32(), nullable=False),
        pa.field("relation", pa.string(), nullable=False),  # one of RELATIONS
        pa.field("score", pa.float32(), nullable=False),  # certainty of the verification, 0..1
        pa.field("group", pa.int32(), nullable=False),  # the group's representative: the row that all its members match; -1 for none
        pa.field("cosine", pa.float32()),  # of the embeddings
        pa.field("hamming", pa.int16()),  # of the perceptual hashes, 0..64
        pa.field("evidence", pa.string(), nullable=False),  # JSON object: the measurements of the verification
    ]
)

FACES = pa.schema(
    [
        pa.field("row", pa.int32(), nullable=False),  # row of samples
        pa.field("left", pa.float32(), nullable=False),  # edges of the box, 0..1 of the upright image's width and height
        pa.field("top", pa.float32(), nullable=False),
        pa.field("right", pa.float32(), nullable=False),
        pa.field("bottom", pa.float32(), nullable=False),
        pa.field("confidence", pa.float32(), nullable=False),  # of the detector, 0.2..1
    ]
)
"""Detected faces, ordered by row."""

LABEL_QUALITY = pa.schema(
    [
        pa.field("given", pa.int32(), nullable=False),  # column of the given label; -1 = none or several
        pa.field("predicted", pa.int32(), nullable=False),  # column of the most probable class, out of sample; -1 = no prediction
        pa.field("predicted_probability", pa.float32()),  # its probability, 0..1; NaN here and below if there is none
        pa.field("given_probability", pa.float32()),  # predicted probability of the given label, 0..1
        pa.field("alternative", pa.int32(), nullable=False),  # most probable class other than the given one; -1 = not judged
        pa.field("alternative_probability", pa.float32()),  # probability that ``alternative`` is right, 0..1; NaN with several labels per image
        pa.field("probability_wrong", pa.float32()),  # probability that a reviewer would call the given label wrong, 0..1
        pa.field("probability_low", pa.float32()),  # the same if only errors count that the labels prove; NaN with several labels per image
        pa.field("probability_high", pa.float32()),  # the same if errors are of the kind that the self-test finds least
        pa.field("score", pa.float32()),  # 0..1, higher = review earlier
    ]
)
"""The judgement of every given label; row *i* is sample *i*."""

SEVERITIES = ("info", "warning", "error")
SUBJECTS = ("sample", "group", "class", "dataset")

FINDINGS = pa.schema(
    [
        pa.field("finding_id", pa.string(), nullable=False),
        pa.field("check", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("subject", pa.string(), nullable=False),  # one of SUBJECTS
        pa.field("severity", pa.string(), nullable=False),  # one of SEVERITIES
        pa.field("score", pa.float32(), nullable=False),  # 0..1, higher = worse
        pa.field("sample_id", pa.string()),  # null for a class or the dataset
        pa.field("content_id", pa.string()),
        pa.field("group_id", pa.string()),
        pa.field("split", pa.string()),
        pa.field("label", pa.string()),
        pa.field("suggested_label", pa.string()),
        pa.field("message", pa.string(), nullable=False),  # one sentence that the reader can act on
        pa.field("evidence", pa.string(), nullable=False),  # JSON object; the check's docs page explains its keys
    ]
)
"""One schema for all checks, so that a directory of findings can be read as one table."""


def cell_value(value: Any) -> Any:
    """Return a table's cell as a plain Python value; a null, which pandas gives as None, NaN or NA, is None."""
    import pandas as pd

    if hasattr(value, "tolist"):  # a NumPy scalar or array
        value = value.tolist()
    return None if not isinstance(value, list) and pd.isna(value) else value
