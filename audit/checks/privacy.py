"""Personal metadata inside the files: where a picture was taken, with which camera, by whom, and when.

Publishing a dataset publishes its EXIF, XMP, IPTC and comments: coordinates lead to a home, serial numbers tie pictures to a person, and the embedded
thumbnail may show what was cropped away. Only the kinds of metadata are named, never their values.

Blind spots: people and text visible in the picture; what maker notes and vendors' own blocks hold; blocks that Pillow does not read.
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
    "families": Evidence("Metadata held"),
    "family": Evidence("Family", "name"),
    "images": Evidence("Images"),
    "sources": Evidence("Sources", by_name=True),
    "classes": Evidence("Classes"),
    "images_per_class": Evidence("Images per class", by_name=True),
}

_PERSONAL = {
    "gps": ("where it was taken (GPS)", 1.0),
    "serial": ("a serial number or unique id", 0.7),
    "owner": ("names of people or of their machines", 0.7),
    "place": ("the place it was taken", 0.7),
}
_COMMON = {
    "comment": ("free text, which may name people", 0.3),
    "maker_note": ("a maker's own block, which may hold serial numbers", 0.3),
    "date": ("when it was taken or edited", 0.2),
    "thumbnail": ("an embedded thumbnail, which may show what was cropped away", 0.2),
    "software": ("the program it was made with", 0.1),
}
_RIGHTS = "a licence or copyright note"


def family_score(families: Sequence[str]) -> float:
    """Return how personal a file's metadata is, 0..1: that of its most telling family.

    >>> family_score(["date/exif", "gps/xmp"]), family_score(["copyright/exif"])
    (1.0, 0.0)
    """
    known = {**_PERSONAL, **_COMMON}
    return max((known[name][1] for name in _names(families) if name in known), default=0.0)


def run(samples: pd.DataFrame) -> Result:
    """Report each image with coordinates, serial numbers, names or places, and the dataset once for every family; unread images have no score."""
    codes, distinct = _distinct(samples["exif_families"])
    read = (samples["outcome"] == "ok").to_numpy(bool)
    told = np.array([family_score(families) for families in distinct], np.float32)
    some = np.array([bool(families) for families in distinct], bool)
    scores = np.where(read | some[codes], told[codes], np.float32(np.nan)).astype(np.float32)
    telling = np.array([any(name in _PERSONAL for name in _names(families)) for families in distinct], bool)
    findings = [_of_image(int(row), distinct[codes[row]]) for row in np.flatnonzero(telling[codes])]
    return Result(scores, [*findings, *_of_dataset(codes, distinct, samples)])


def _names(families: Sequence[str]) -> list[str]:
    return sorted({family.partition("/")[0] for family in families})


def _distinct(column: pd.Series[Any]) -> tuple[npt.NDArray[np.int64], list[tuple[str, ...]]]:
    """Return ``[n]`` codes and what they stand for: datasets hold few combinations of families."""
    known: dict[tuple[str, ...], int] = {(): 0}
    codes = np.zeros(len(column), np.int64)
    for row, value in enumerate(column):
        if isinstance(value, list | tuple | np.ndarray) and len(value):
            codes[row] = known.setdefault(tuple(value), len(known))
    return codes, list(known)


def _of_image(row: int, families: tuple[str, ...]) -> Finding:
    personal = [name for name in _PERSONAL if name in _names(families)]
    message = f"Tells {' and '.join(_PERSONAL[name][0] for name in personal)} in its metadata; strip it before sharing."
    return Finding(kind=personal[0], score=family_score(families), message=message, row=row, evidence={"families": sorted(families)})


def _of_dataset(codes: npt.NDArray[np.int64], distinct: list[tuple[str, ...]], samples: pd.DataFrame) -> list[Finding]:
    """Count each family by class and by the block it was found in."""
    images = np.bincount(codes, minlength=len(distinct))
    findings = []
    for family in (*_PERSONAL, *_COMMON, "copyright"):
        holds = np.array([family in _names(families) for families in distinct], bool)
        count = int(images[holds].sum())
        if not count:
            continue
        sources: dict[str, int] = {}
        for at in np.flatnonzero(holds):
            for name, _, source in (entry.partition("/") for entry in distinct[at]):
                if name == family:
                    sources[source or "unknown"] = sources.get(source or "unknown", 0) + int(images[at])
        evidence = {
            "family": family,
            "images": count,
            "sources": dict(sorted(sources.items())),
            **images_of_classes(samples, np.flatnonzero(holds[codes])),
        }
        what, score = {**_PERSONAL, **_COMMON}.get(family, (_RIGHTS, 0.1))
        advice = "check that it allows your use, and keep it if you strip the files" if family == "copyright" else "strip it before sharing"
        message = f"{'1 image holds' if count == 1 else f'{count} images hold'} {what}, in the metadata; {advice}."
        findings.append(Finding(kind=family, score=score, severity="info", message=message, evidence=evidence))
    return findings
