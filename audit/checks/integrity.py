"""Files that are unreadable, truncated, empty, misnamed, EXIF-rotated, animated, CMYK or otherwise decoded differently by different readers.

Why it matters: an image that fails to load stops a training run hours in, or is silently replaced by a loader's fallback. If libraries decode an
image differently (EXIF rotation applied or not, the first of many frames, transparency on black or white, CMYK with inverted channels), a model is
trained on one image and evaluated on another.

Blind spots: files that decode to a wrong image without an error (bytes swapped inside a valid JPEG stream); ``image_quality`` and ``outliers`` may
find them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.checks.base import Evidence, Family, Finding, Result

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    import pandas as pd

KINDS = (
    *("unreadable", "truncated", "empty", "missing", "too_large", "crashed", "timed_out", "not_images", "placeholder"),
    *("wrong_extension", "exif_rotated", "odd_mode", "animated", "alpha", "appended_data"),
)
FAMILY: Family = "quality"
EVIDENCE = {
    "error": Evidence("Error"),
    "format": Evidence("Format"),
    "extension": Evidence("Extension"),
    "orientation": Evidence("Orientation"),
    "mode": Evidence("Mode"),
    "frames": Evidence("Frames"),
    "appended": Evidence("After the image"),
    "entries": Evidence("Files"),
    "same": Evidence("With the same bytes"),
    "labels": Evidence("Labels"),
}

_EXTENSIONS = {
    "JPEG": {"jpg", "jpeg", "jpe", "jfif", "jif"},
    "PNG": {"png", "apng"},
    "GIF": {"gif"},
    "BMP": {"bmp", "dib"},
    "WEBP": {"webp"},
    "TIFF": {"tif", "tiff"},
    "PPM": {"ppm", "pgm", "pbm", "pnm", "pfm"},
    "JPEG2000": {"jp2", "j2k", "jpx", "j2c", "jpf"},
    "AVIF": {"avif"},
    "ICO": {"ico"},
    "TGA": {"tga"},
}
_KNOWN_EXTENSIONS = frozenset().union(*_EXTENSIONS.values())

_ODD_MODES = {
    "CMYK": "Stored as CMYK: libraries disagree on its colors. Convert it to RGB.",
    "YCCK": "Stored as YCCK: libraries disagree on its colors. Convert it to RGB.",
    "LAB": "Stored as CIELAB: few libraries convert it. Convert it to RGB.",
    "HSV": "Stored as HSV: few libraries convert it. Convert it to RGB.",
    "I": "Stored with 32 bits per pixel: many loaders clip it to 8 bits. Convert it explicitly.",
    "F": "Stored as floating-point numbers: loaders scale it differently. Convert it explicitly.",
    "1": "Stored with 1 bit per pixel, so black and white only. Check that this is intended.",
}
_NOT_AN_IMAGE = "not an image: contains "
"""Start of the decoder's error for a file whose first bytes say what it is (`audit.images.decode.NOT_AN_IMAGE`)."""

_PLACEHOLDER_FILES, _PLACEHOLDER_LABELS = 5, 3
"""Files and labels from which one image is a placeholder: copies of a photo rarely have three labels. With fewer labels, twice as many files."""

_BANDS = "Stored with {bands} bands: the scan shows the first three; most loaders cannot read it. Export the bands that you train on."
_SIXTEEN_BITS = "Stored with 16 bits per channel: many loaders clip it to 8 bits. Convert it explicitly."

_FAILURES = {
    "unreadable": "Cannot be decoded ({error}). Replace or remove it.",
    "truncated": "Truncated ({error}). Download it again or remove it.",
    "empty": "Empty file (zero bytes). Download it again or remove it.",
    "missing": "Missing ({error}). Restore it or remove it from the list.",
    "too_large": "Larger than the limit ({error}). Scale it down, or raise --max-pixels or --max-bytes if this size is intended.",
    "crashed": "Crashed the image decoder. Remove or re-encode it.",
    "timed_out": "Too slow to decode ({error}). Remove or re-encode it, or raise --seconds-per-image if it is intended.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Oddity:
    """One property of a file that makes it fail or that readers disagree on."""

    kind: str
    severity: str
    score: float
    message: str
    evidence: dict[str, Any]


def extension_score(sample_id: str, found: str | None) -> float:
    """Return 1 if the extension belongs to another image format than the bytes, else 0; also 0 without an extension.

    >>> extension_score("a.jpg", "PNG"), extension_score("a.JPEG", "JPEG"), extension_score("a", "PNG")
    (1.0, 0.0, 0.0)
    """
    extension = PurePosixPath(sample_id).suffix.lower().removeprefix(".")
    if found not in _EXTENSIONS or extension not in _KNOWN_EXTENSIONS:
        return 0.0
    return 0.0 if extension in _EXTENSIONS[found] else 1.0


def run(samples: pd.DataFrame) -> Result:
    """Report failed images as errors, and images that readers may decode differently."""
    scores: npt.NDArray[np.float32] = np.zeros(len(samples), np.float32)
    findings: list[Finding] = []
    columns = ["sample_id", "outcome", "error", "format", "mode", "frames", "orientation", "has_alpha", "appended"]
    odd = _suspects(samples)
    for row, values in zip(odd.tolist(), samples[columns].iloc[odd].itertuples(index=False, name=None), strict=True):
        facts = {key: None if value is None or value != value else value for key, value in zip(columns, values, strict=True)}  # noqa: PLR0124
        for found in _failure(facts) if facts["outcome"] != "ok" else _oddities(facts):
            finding = Finding(kind=found.kind, score=found.score, severity=found.severity, message=found.message, row=row, evidence=found.evidence)
            findings.append(finding)
            scores[row] = max(scores[row], found.score)
    return Result(scores, [*findings, *_not_images(samples), *_placeholders(samples)])


def _not_images(samples: pd.DataFrame) -> Iterator[Finding]:
    """Yield one finding for each kind of content that several files have instead of an image."""
    errors = samples["error"].fillna("")
    found = samples[(samples["outcome"] == "unreadable").to_numpy(bool) & errors.str.startswith(_NOT_AN_IMAGE).to_numpy(bool)]
    for error, files in found.groupby("error"):
        what, _, fix = str(error).removeprefix(_NOT_AN_IMAGE).partition("; ")
        same = int(files["content_id"].value_counts().iloc[0])
        if len(files) > 1:
            of_one = "" if same < 2 else f", {'all' if same == len(files) else f'{same:,} of them'} with the same bytes"
            message = f"{len(files):,} of {len(samples):,} files contain {what} instead of an image{of_one}. {fix[:1].upper()}{fix[1:]}."
            evidence = {"entries": len(files), "same": same}
            yield Finding(kind="not_images", score=1.0, severity="warning", message=message, evidence=evidence)


def _placeholders(samples: pd.DataFrame) -> Iterator[Finding]:
    """Yield one finding for each image that files with many labels show, or many files without labels: "image not available"."""
    shown = samples[(samples["outcome"] == "ok").to_numpy(bool) & samples["pixel_id"].duplicated(keep=False).to_numpy(bool)]
    enough = min(_PLACEHOLDER_LABELS, max(samples["label"].nunique(), 1))
    for _, files in shown.groupby("pixel_id", sort=True):
        labels = int(files["label"].nunique())
        least = _PLACEHOLDER_FILES if labels >= _PLACEHOLDER_LABELS else 2 * _PLACEHOLDER_FILES
        if len(files) >= least and (labels >= enough or not samples["label"].notna().any()):
            of = f" with {labels:,} labels" if labels else ""
            message = f"{len(files):,} files{of} show the same image. If it is a placeholder, such as 'image not available', remove them."
            row, evidence = int(samples.index.get_loc(files.index[0])), {"entries": len(files), "labels": labels}  # type: ignore[arg-type]
            yield Finding(kind="placeholder", score=0.9, severity="warning", message=message, group=row, evidence=evidence)


def _suspects(samples: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return rows that may have a finding: most images are plain RGB, and checking millions row by row would take minutes."""
    plain = (samples["outcome"] == "ok") & samples["mode"].isin(["RGB", "L", "P"])
    plain &= (samples["frames"].fillna(1) <= 1) & (samples["orientation"].fillna(1) == 1) & (samples["has_alpha"].fillna(value=0).astype(float) == 0)
    plain &= samples["appended"].isna()
    names = samples["sample_id"].str.lower()
    named_right = np.zeros(len(samples), bool)
    for form, extensions in _EXTENSIONS.items():
        of_form = (samples["format"] == form).to_numpy(bool)
        if of_form.any():
            named_right[of_form] = names[of_form].str.endswith(tuple(f".{extension}" for extension in sorted(extensions))).to_numpy(bool)
    return np.flatnonzero(~(plain.to_numpy(bool) & named_right))


def _failure(facts: dict[str, Any]) -> Iterator[Oddity]:
    outcome, error = facts["outcome"], facts["error"] or "no reason given"
    message = _FAILURES.get(outcome, "Could not be read ({error}). Download it again or remove it.").format(error=error)
    if str(error).startswith(_NOT_AN_IMAGE):
        what, _, fix = error.removeprefix(_NOT_AN_IMAGE).partition("; ")
        message = f"Is not an image but contains {what}. {fix[:1].upper()}{fix[1:]}."
    yield Oddity(kind=outcome, severity="error", score=1.0, message=message, evidence={"error": facts["error"], "format": facts["format"]})


def _oddities(facts: dict[str, Any]) -> Iterator[Oddity]:
    form, mode = facts["format"], facts["mode"] or ""
    if extension_score(facts["sample_id"], form):
        extension = PurePosixPath(facts["sample_id"]).suffix.lower()
        message = f"Named {extension}, but contains {form} data: loaders that trust the name fail. Rename or convert it."
        yield Oddity(kind="wrong_extension", severity="warning", score=0.6, message=message, evidence={"format": form, "extension": extension})
    if (orientation := int(facts["orientation"] or 1)) != 1:
        message = f"Stored rotated (EXIF orientation {orientation}): loaders that ignore EXIF see it rotated. Store it upright."
        yield Oddity(kind="exif_rotated", severity="warning", score=0.5, message=message, evidence={"orientation": orientation})
    if " bands" in mode:
        reason: str | None = _BANDS.format(bands=mode.partition(" ")[0])
    else:
        reason = _SIXTEEN_BITS if ";16" in mode else _ODD_MODES.get(mode)
    if reason:
        severity = "info" if mode == "1" else "warning"
        yield Oddity(kind="odd_mode", severity=severity, score=0.2 if mode == "1" else 0.5, message=reason, evidence={"mode": mode})
    if (frames := int(facts["frames"] or 1)) > 1:
        message = f"Contains {frames} frames: most loaders, and this scan, read only the first. Keep one frame."
        yield Oddity(kind="animated", severity="warning", score=0.4, message=message, evidence={"frames": frames})
    if facts["appended"]:
        message = f"Followed by {facts['appended']}. It may hide data or be the rest of an earlier image: write the image again without it."
        yield Oddity(kind="appended_data", severity="info", score=0.3, message=message, evidence={"appended": facts["appended"]})
    if facts["has_alpha"]:
        palette = mode == "P"
        message = "Has transparency: loaders put it on white, put it on black, or drop it. Flatten it explicitly."
        yield Oddity(kind="alpha", severity="info", score=0.3 if palette else 0.2, message=message, evidence={"mode": mode})
