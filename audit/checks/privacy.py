"""Personal metadata inside the files: where a picture was taken, with which camera, by whom, and when.

Publishing a dataset publishes its EXIF: coordinates lead to a home, serial numbers tie pictures to a person, and the embedded thumbnail may show what
was cropped away. Only the kinds of metadata are named, never their values.

Blind spots: people and text visible in the picture; maker notes and comments of unknown form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from audit.checks.base import Finding, Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

_PERSONAL = {"gps": ("where it was taken (GPS)", 1.0), "serial": ("the camera's serial number", 0.7), "owner": ("its owner's name", 0.7)}
_COMMON = {"date": ("when they were taken", 0.2), "thumbnail": ("an embedded thumbnail, which may show what was cropped away", 0.2)}


def family_score(families: Sequence[str]) -> float:
    """Return how personal a file's metadata is, 0..1: that of its most telling family.

    >>> family_score(["date", "gps"]), family_score(["copyright"])
    (1.0, 0.0)
    """
    return max((({**_PERSONAL, **_COMMON})[family][1] for family in families if family in _PERSONAL or family in _COMMON), default=0.0)


def run(samples: pd.DataFrame) -> Result:
    """Report each image with coordinates, serial numbers or names, and the dataset once for dates and for thumbnails; unread images have no score."""
    scores = np.full(len(samples), np.nan, np.float32)
    findings: list[Finding] = []
    counts = dict.fromkeys(_COMMON, 0)
    known: dict[tuple[str, ...], float] = {}
    read = (samples["outcome"] == "ok").to_numpy(bool)
    for row, (value, ok) in enumerate(zip(samples["exif_families"], read, strict=True)):
        families = tuple(value) if isinstance(value, list | tuple | np.ndarray) else ()
        if not ok and not families:
            continue
        if families not in known:
            known[families] = family_score(families)
        scores[row] = known[families]
        for family in families:
            if family in counts:
                counts[family] += 1
        personal = [family for family in _PERSONAL if family in families]
        if personal:
            told = " and ".join(_PERSONAL[family][0] for family in personal)
            message = f"Tells {told} in its metadata; strip it before sharing."
            findings.append(Finding(kind=personal[0], score=known[families], message=message, row=row, evidence={"families": sorted(families)}))
    for family, count in counts.items():
        if count:
            what, score = _COMMON[family]
            images = "1 image holds" if count == 1 else f"{count} images hold"
            message = f"{images} {what}, in the metadata; strip it before sharing if that matters."
            findings.append(Finding(kind=family, score=score, severity="info", message=message, evidence={"family": family, "images": count}))
    return Result(scores, findings)
