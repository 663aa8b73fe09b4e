"""The tables of a run: the only place where a column is named and typed.

Row *i* is sample *i* in every table and array of a run. ``docs/run-format.md`` describes the same for readers without this package.
"""

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = 1

THUMBNAIL_SIDE = 32
"""Side, in pixels, of the stored whole-image thumbnail (aspect ratio not kept): what pair verification looks at."""

OUTCOMES = ("ok", "empty", "missing", "unreadable", "truncated", "too_large", "crashed")
"""What became of a listed image. Only ``ok`` rows have an embedding; every other outcome counts as failed."""

LISTING = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),  # path or key inside the source, '/' separated
        pa.field("source_ref", pa.string(), nullable=False),  # how the source finds the bytes again
        pa.field("fingerprint", pa.string(), nullable=False),  # differs when the bytes may differ, found without reading them
        pa.field("split", pa.string()),
        pa.field("label", pa.string()),
        pa.field("labels", pa.list_(pa.string())),  # several labels; then `label` is null
        pa.field("metadata", pa.string()),  # JSON object of the manifest's further columns, or null
    ]
)
"""What a source says of an image before its bytes are read."""

MEASURES = pa.schema(
    [
        pa.field("content_id", pa.string()),  # SHA-256 of the bytes, hex
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("byte_size", pa.int64()),
        pa.field("format", pa.string()),  # as found in the bytes: JPEG, PNG, ...
        pa.field("mode", pa.string()),  # as stored: RGB, L, CMYK, P, I;16, RGB;16, ...
        pa.field("width", pa.int32()),  # upright, as a person sees it
        pa.field("height", pa.int32()),
        pa.field("frames", pa.int32()),
        pa.field("orientation", pa.int8()),  # EXIF orientation 1..8; 1 when there is none
        pa.field("has_alpha", pa.bool_()),
        pa.field("exif_families", pa.list_(pa.string())),  # names only, never values: family/source of audit.images.metadata, such as gps/exif
        pa.field("camera", pa.string()),  # EXIF make and model
        pa.field("day_code", pa.int8()),  # 0..15, equal for pictures taken on one day; who knows the week often learns the day
        pa.field("encoder", pa.string()),  # of a JPEG: quality or digest of its luma table, progressive
        pa.field("pixel_id", pa.string()),  # hash of size and upright decoded 8-bit RGB pixels, hex
        pa.field("perceptual_hash", pa.uint64()),  # 64-bit DCT hash
        pa.field("brightness", pa.float32()),  # mean luma, 0..1
        pa.field("luma_p01", pa.float32()),  # percentiles of luma, 0..1
        pa.field("luma_p99", pa.float32()),
        pa.field("contrast", pa.float32()),  # standard deviation of luma, 0..0.5
        pa.field("sharpness", pa.float32()),  # log10(1 + variance of the Laplacian of 8-bit luma), >= 0
        pa.field("entropy", pa.float32()),  # bits per pixel of the luma histogram, 0..8
        pa.field("chroma", pa.float32()),  # 99th percentile of max(R,G,B) - min(R,G,B), 0..1; 0 = gray
        pa.field("embedding_norm", pa.float32()),  # length of the embedding before it was scaled to 1
    ]
)
"""What one read and one decode say of an image. Everything but ``outcome`` is null where it could not be measured."""

SAMPLES = pa.schema([*LISTING, *MEASURES])

RELATIONS = ("identical_bytes", "identical_pixels", "re_encoded", "edited_copy", "same_scene")
"""What a verified pair is, from the most to the least certain."""

PAIRS = pa.schema(
    [
        pa.field("i", pa.int32(), nullable=False),  # rows of samples, i < j
        pa.field("j", pa.int32(), nullable=False),
        pa.field("relation", pa.string(), nullable=False),  # one of RELATIONS
        pa.field("score", pa.float32(), nullable=False),  # how sure the verification is, 0..1
        pa.field("group", pa.int32(), nullable=False),  # the group's representative: the row all its members were matched with; -1 for none
        pa.field("cosine", pa.float32()),  # of the embeddings
        pa.field("hamming", pa.int16()),  # of the perceptual hashes, 0..64
        pa.field("evidence", pa.string(), nullable=False),  # JSON object: what the verification measured
    ]
)

FACES = pa.schema(
    [
        pa.field("row", pa.int32(), nullable=False),  # row of samples
        pa.field("left", pa.float32(), nullable=False),  # edges of the box, 0..1 of the upright picture's width and height
        pa.field("top", pa.float32(), nullable=False),
        pa.field("right", pa.float32(), nullable=False),
        pa.field("bottom", pa.float32(), nullable=False),
        pa.field("confidence", pa.float32(), nullable=False),  # the detector's own, 0.2..1
    ]
)
"""Faces that were found, ordered by row."""

LABEL_QUALITY = pa.schema(
    [
        pa.field("given", pa.int32(), nullable=False),  # column of the given label; -1 = none, or several
        pa.field("predicted", pa.int32(), nullable=False),  # column of the most probable class, out of sample; -1 = no prediction
        pa.field("predicted_probability", pa.float32()),  # of it, 0..1; NaN here and below where there is none
        pa.field("given_probability", pa.float32()),  # predicted probability of the given label, 0..1
        pa.field("alternative", pa.int32(), nullable=False),  # likeliest class other than the given one; -1 = not judged
        pa.field("probability_wrong", pa.float32()),  # that a reviewer would call the given label wrong, 0..1
        pa.field("score", pa.float32()),  # 0..1, higher = look earlier
    ]
)
"""What is known of every given label; row *i* is sample *i*."""

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
        pa.field("message", pa.string(), nullable=False),  # one sentence a person can act on
        pa.field("evidence", pa.string(), nullable=False),  # JSON object; its keys are on the check's docs page
    ]
)
"""One schema for every check, so that a directory of findings reads as one table."""
