"""Files that cannot be read, or that readers do not agree on.

An image that fails to load stops a training run hours in, or is silently replaced by a loader's fallback. One that loads differently from library to
library (EXIF rotation applied or not, the first of many frames, transparency on black or on white, CMYK with inverted channels) trains on one picture
and is evaluated on another.

Blind spots: a file that decodes to the wrong picture without an error (bytes swapped inside a valid JPEG stream) is not seen here; ``image_quality``
and ``outliers`` may see it.
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

KINDS = ("unreadable", "truncated", "empty", "missing", "too_large", "crashed", "wrong_extension", "exif_rotated", "odd_mode", "animated", "alpha")
FAMILY: Family = "quality"
EVIDENCE = {
    "error": Evidence("Error"),
    "format": Evidence("Format"),
    "extension": Evidence("Extension"),
    "orientation": Evidence("Orientation"),
    "mode": Evidence("Mode"),
    "frames": Evidence("Frames"),
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
    "CMYK": "is stored as CMYK: libraries disagree on its colors; convert it to RGB",
    "YCCK": "is stored as YCCK: libraries disagree on its colors; convert it to RGB",
    "LAB": "is stored as CIELAB: few libraries convert it; convert it to RGB",
    "HSV": "is stored as HSV: few libraries convert it; convert it to RGB",
    "I": "is stored with 32 bits a pixel: many loaders cut it to 8 bits; convert it on purpose",
    "F": "is stored as floating-point numbers: loaders scale it differently; convert it on purpose",
    "1": "is stored with 1 bit a pixel: black and white only",
}
_SIXTEEN_BITS = "is stored with 16 bits a channel: many loaders cut it to 8 bits; convert it on purpose"

_FAILURES = {
    "unreadable": "Cannot be decoded ({error}); replace or remove it.",
    "truncated": "Ends too early ({error}); fetch it again or remove it.",
    "empty": "Has zero bytes; fetch it again or remove it.",
    "missing": "Is listed but its bytes cannot be read ({error}); restore it or take it off the list.",
    "too_large": "Is larger than the limit ({error}); scale it down, or raise the scan's --max-pixels (max_pixels) if it is meant to be that large.",
    "crashed": "Crashed the image decoder; remove or re-encode it.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Oddity:
    """A way of being stored on which readers disagree."""

    kind: str
    severity: str
    score: float
    message: str
    evidence: dict[str, Any]


def extension_score(sample_id: str, found: str | None) -> float:
    """Return 1 where a name's extension belongs to another image format than the bytes, else 0; 0 where the name has none.

    >>> extension_score("a.jpg", "PNG"), extension_score("a.JPEG", "JPEG"), extension_score("a", "PNG")
    (1.0, 0.0, 0.0)
    """
    extension = PurePosixPath(sample_id).suffix.lower().removeprefix(".")
    if found not in _EXTENSIONS or extension not in _KNOWN_EXTENSIONS:
        return 0.0
    return 0.0 if extension in _EXTENSIONS[found] else 1.0


def run(samples: pd.DataFrame) -> Result:
    """Report failed images as errors and oddly stored ones by how much readers disagree on them."""
    scores: npt.NDArray[np.float32] = np.zeros(len(samples), np.float32)
    findings: list[Finding] = []
    columns = ["sample_id", "outcome", "error", "format", "mode", "frames", "orientation", "has_alpha"]
    odd = _suspects(samples)
    for row, values in zip(odd.tolist(), samples[columns].iloc[odd].itertuples(index=False, name=None), strict=True):
        facts = {key: None if value is None or value != value else value for key, value in zip(columns, values, strict=True)}  # noqa: PLR0124
        for found in _failure(facts) if facts["outcome"] != "ok" else _oddities(facts):
            finding = Finding(kind=found.kind, score=found.score, severity=found.severity, message=found.message, row=row, evidence=found.evidence)
            findings.append(finding)
            scores[row] = max(scores[row], found.score)
    return Result(scores, findings)


def _suspects(samples: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return the rows worth a closer look: most datasets are almost all plain RGB, and a row-wise look at millions would take minutes."""
    plain = (samples["outcome"] == "ok") & samples["mode"].isin(["RGB", "L", "P"])
    plain &= (samples["frames"].fillna(1) <= 1) & (samples["orientation"].fillna(1) == 1) & (samples["has_alpha"].fillna(value=0).astype(float) == 0)
    names = samples["sample_id"].str.lower()
    named_right = np.zeros(len(samples), bool)
    for form, extensions in _EXTENSIONS.items():
        of_form = (samples["format"] == form).to_numpy(bool)
        if of_form.any():
            named_right[of_form] = names[of_form].str.endswith(tuple(f".{extension}" for extension in sorted(extensions))).to_numpy(bool)
    return np.flatnonzero(~(plain.to_numpy(bool) & named_right))


def _failure(facts: dict[str, Any]) -> Iterator[Oddity]:
    outcome, error = facts["outcome"], facts["error"] or "no reason given"
    message = _FAILURES.get(outcome, "Could not be read ({error}); fetch it again or remove it.").format(error=error)
    yield Oddity(kind=outcome, severity="error", score=1.0, message=message, evidence={"error": facts["error"], "format": facts["format"]})


def _oddities(facts: dict[str, Any]) -> Iterator[Oddity]:
    form, mode = facts["format"], facts["mode"] or ""
    if extension_score(facts["sample_id"], form):
        extension = PurePosixPath(facts["sample_id"]).suffix.lower()
        message = f"Is named {extension} but holds {form} data; loaders that trust the name fail on it, so rename or convert it."
        yield Oddity(kind="wrong_extension", severity="warning", score=0.6, message=message, evidence={"format": form, "extension": extension})
    if (orientation := int(facts["orientation"] or 1)) != 1:
        message = f"Is stored turned (EXIF orientation {orientation}); loaders that ignore EXIF see it on its side, so store it upright."
        yield Oddity(kind="exif_rotated", severity="warning", score=0.5, message=message, evidence={"orientation": orientation})
    if reason := _SIXTEEN_BITS if ";16" in mode else _ODD_MODES.get(mode):
        severity = "info" if mode == "1" else "warning"
        yield Oddity(kind="odd_mode", severity=severity, score=0.2 if mode == "1" else 0.5, message=f"I{reason[1:]}.", evidence={"mode": mode})
    if (frames := int(facts["frames"] or 1)) > 1:
        message = f"Holds {frames} frames; only the first is looked at here and by most loaders, so keep one."
        yield Oddity(kind="animated", severity="warning", score=0.4, message=message, evidence={"frames": frames})
    if facts["has_alpha"]:
        palette = mode == "P"
        message = "Has transparency, which loaders lay on white, on black, or drop; flatten it on purpose."
        yield Oddity(kind="alpha", severity="info", score=0.3 if palette else 0.2, message=message, evidence={"mode": mode})
