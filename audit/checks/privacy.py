"""Personal metadata inside the files: where and when an image was taken, with which camera, and by whom.

Why it matters: publishing a dataset publishes its EXIF, XMP, IPTC and comments. Coordinates lead to a home, serial numbers link images to a person,
and the embedded thumbnail may show what was cropped away. Only the kinds of metadata are reported, never their values.

Blind spots: people and text visible in the image; the contents of maker notes and vendor-specific blocks; blocks that Pillow does not read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from audit.checks.base import Evidence, Family, Finding, Result
from audit.labels.images_per_class import images_of_classes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import pandas as pd

KINDS = ("gps", "place", "serial", "owner", "comment", "maker_note", "date", "thumbnail", "software", "copyright")
FAMILY: Family = "bias"
EVIDENCE = {
    "families": Evidence("Metadata found"),
    "family": Evidence("Kind of metadata", "name"),
    "images": Evidence("Images"),
    "sources": Evidence("Metadata blocks", by_name=True),
    "classes": Evidence("Classes"),
    "images_per_class": Evidence("Images per class", by_name=True),
}

_PERSONAL = {
    "gps": ("GPS coordinates", 1.0),
    "serial": ("a serial number or unique id", 0.7),
    "owner": ("names of people or their computers", 0.7),
    "place": ("a place name", 0.7),
}
_COMMON = {
    "comment": ("free text, which may name people", 0.3),
    "maker_note": ("a maker note, which may contain serial numbers", 0.3),
    "date": ("a date of capture or editing", 0.2),
    "thumbnail": ("an embedded thumbnail, which may show what was cropped away", 0.2),
    "software": ("the name of a program", 0.1),
}
_RIGHTS = "a licence or copyright note"


def family_score(families: Sequence[str]) -> float:
    """Return how personal a file's metadata is, 0..1: the highest score of its families.

    >>> family_score(["date/exif", "gps/xmp"]), family_score(["copyright/exif"])
    (1.0, 0.0)
    """
    known = {**_PERSONAL, **_COMMON}
    return max((known[name][1] for name in _names(families) if name in known), default=0.0)


def run(samples: pd.DataFrame) -> Result:
    """Report each image with coordinates, serial numbers, names or places, and each family once for the dataset; unread images have no score."""
    codes, distinct = _distinct(samples["exif_families"])
    read = (samples["outcome"] == "ok").to_numpy(bool)
    by_code = np.array([family_score(families) for families in distinct], np.float32)
    some = np.array([bool(families) for families in distinct], bool)
    scores = np.where(read | some[codes], by_code[codes], np.float32(np.nan)).astype(np.float32)
    personal = np.array([any(name in _PERSONAL for name in _names(families)) for families in distinct], bool)
    findings = [_of_image(int(row), distinct[codes[row]]) for row in np.flatnonzero(personal[codes])]
    return Result(scores, [*findings, *_of_dataset(codes, distinct, samples)])


def _names(families: Sequence[str]) -> list[str]:
    return sorted({family.partition("/")[0] for family in families})


def _distinct(column: pd.Series[Any]) -> tuple[npt.NDArray[np.int64], list[tuple[str, ...]]]:
    """Return ``[n]`` codes and their combinations of families, of which datasets have few."""
    known: dict[tuple[str, ...], int] = {(): 0}
    codes = np.zeros(len(column), np.int64)
    for row, value in enumerate(column):
        if isinstance(value, list | tuple | np.ndarray) and len(value):
            codes[row] = known.setdefault(tuple(value), len(known))
    return codes, list(known)


def _of_image(row: int, families: tuple[str, ...]) -> Finding:
    personal = [name for name in _PERSONAL if name in _names(families)]
    message = f"Metadata contains {' and '.join(_PERSONAL[name][0] for name in personal)}. Strip it before you publish the image."
    return Finding(kind=personal[0], score=family_score(families), message=message, row=row, evidence={"families": sorted(families)})


def _of_dataset(codes: npt.NDArray[np.int64], distinct: list[tuple[str, ...]], samples: pd.DataFrame) -> list[Finding]:
    """Return one finding per family, with its number of images by class and by metadata block."""
    images = np.bincount(codes, minlength=len(distinct))
    findings = []
    for family in (*_PERSONAL, *_COMMON, "copyright"):
        has = np.array([family in _names(families) for families in distinct], bool)
        count = int(images[has].sum())
        if not count:
            continue
        sources: dict[str, int] = {}
        for at in np.flatnonzero(has):
            for name, _, source in (entry.partition("/") for entry in distinct[at]):
                if name == family:
                    sources[source or "unknown"] = sources.get(source or "unknown", 0) + int(images[at])
        evidence = {
            "family": family,
            "images": count,
            "sources": dict(sorted(sources.items())),
            **images_of_classes(samples, np.flatnonzero(has[codes])),
        }
        what, score = {**_PERSONAL, **_COMMON}.get(family, (_RIGHTS, 0.1))
        advice = "Check that it permits your use, and keep it if you strip the files" if family == "copyright" else "Strip it before you publish them"
        message = f"Metadata of {'1 image' if count == 1 else f'{count} images'} contains {what}. {advice}."
        findings.append(Finding(kind=family, score=score, severity="info", message=message, evidence=evidence))
    return findings
