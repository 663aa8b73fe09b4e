"""Classes of which a large part comes from one source: one camera on one day, or files of one size coded one way.

Fifty frames of one afternoon count as few pictures, not as fifty; a source that only one class has gives the class away; and where its pictures
lie in train and in a test split, the split measures memory.

A source is a camera on a day where EXIF tells both; otherwise what is known of camera, day, size and JPEG coding, where that is two things at
least. A source is reported where it holds much of a class and, beyond chance, several times as much as of the other classes: what a whole dataset
has in common says nothing. The false discovery rate is controlled over every class and every source that is large enough to be reported. Copies of
one picture count once. Where most classes have such a source, as where each was photographed by a camera of its own, it is told once of the dataset.

Blind spots: files whose metadata was stripped and that were resized and coded anew all look like one source, and so do codings that
differ in chroma alone, which gray pictures lack; a source spread over all classes alike is not reported. Dates are personal, so only one of 16
codes is kept of a day: of two sessions of one camera, one in sixteen count as one.

Papers: Torralba & Efros 2011, "Unbiased Look at Dataset Bias", CVPR; Roberts et al. 2017, "Cross-validation strategies for data with temporal,
spatial, hierarchical, or phylogenetic structure", Ecography; Benjamini & Hochberg 1995, "Controlling the False Discovery Rate", JRSS B.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from audit.checks.base import Evidence, Family, Finding, Result, Skipped, require_between_0_and_1, require_shares, skipped_without_classes
from audit.errors import ConfigError
from audit.labels.class_names import class_name
from audit.pairs.duplicate_sets import duplicate_sets
from audit.statistics.label_columns import most_classes
from audit.statistics.multiple_testing import adjusted_p, concentration_p

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Counts = npt.NDArray[np.int64]

KINDS = ("same_source",)
FAMILY: Family = "bias"
EVIDENCE = {
    "source": Evidence("Source"),
    "camera": Evidence("Camera"),
    "day": Evidence("Day"),
    "size": Evidence("Size"),
    "encoder": Evidence("Encoder"),
    "images": Evidence("Images"),
    "pictures": Evidence("Different pictures"),
    "share_of_class": Evidence("Share of the class", "share"),
    "share_of_rest": Evidence("Share of the other classes", "share"),
    "adjusted_p": Evidence("p, corrected for many tests", "p"),
    "splits": Evidence("Splits", by_name=True),
    "examples": Evidence("Examples"),
    "further": Evidence("Further"),
    "classes_given_away": Evidence("Classes given away"),
    "classes_judged": Evidence("Of classes"),
    "classes_in_several_splits": Evidence("Classes in several splits"),
    "example_classes": Evidence("Example classes"),
    "largest_sources": Evidence("Largest sources", by_name=True),
}

_EXAMPLES = 5


@dataclass(frozen=True, kw_only=True)
class Options:
    """How much of a class is much; conventions, set before anything was measured."""

    least_share: float = 0.2
    """Share of a class's pictures that one source must hold, above 0 and at most 1."""
    fewest: int = 10
    """Pictures of the class that the source must hold, at least 2."""
    factor: float = 3.0
    """The source must hold this many times the share of the other classes, above 1."""
    false_discoveries: float = 0.05
    """Of all findings, at most this share is expected to be chance, above 0 and below 1."""

    def __post_init__(self) -> None:
        require_shares(self, "least_share", example=0.2)
        require_between_0_and_1(self, "false_discoveries")
        for name, low in (("fewest", 2), ("factor", 1)):
            if not getattr(self, name) >= low:
                raise ConfigError(name, f"{getattr(self, name)} is too small", f"use {low} or more")


def sources_of(table: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return ``[n]`` a number per image that images of one source share; -1 where too little is known.

    Args:
        table: columns ``camera``, ``day_code``, ``width``, ``height`` and ``encoder``.
    """
    camera, day, encoder = (pd.factorize(table[name])[0] for name in ("camera", "day_code", "encoder"))
    sides = np.sort(table[["width", "height"]].to_numpy(np.float64), axis=1)  # a camera that is turned is the same camera
    size = pd.factorize(sides[:, 0] * 2**31 + sides[:, 1])[0]
    session = (camera >= 0) & (day >= 0)
    known = (camera >= 0).astype(int) + (day >= 0) + (encoder >= 0) + (size >= 0)
    keys = np.stack([camera, day, np.where(session, -1, size), np.where(session, -1, encoder)], axis=1)
    found = np.full(len(table), -1, np.int64)
    told = np.flatnonzero(known >= 2)
    found[told] = np.unique(keys[told], axis=0, return_inverse=True)[1].ravel()
    return found


def run(samples: pd.DataFrame, pairs: pd.DataFrame, class_words: Mapping[str, str], *, options: Options) -> Result | Skipped:
    """Report classes with much of one source; images of such a source score its share of the class, other judged images 0."""
    judged = np.flatnonzero(((samples["outcome"] == "ok") & samples["label"].notna()).to_numpy(bool))
    if samples["label"].iloc[judged].nunique() < 2:
        return skipped_without_classes(samples, "fewer than two classes are labelled")
    table = samples.iloc[judged]
    source = sources_of(table)
    if (source < 0).all():
        return Skipped("no file tells camera, day or JPEG coding")
    rows = pd.DataFrame(
        {"label": table["label"].to_numpy(object), "source": source, "row": judged, "picture": duplicate_sets(pairs, len(samples))[judged]}
    )
    pictures = rows.drop_duplicates(["label", "source", "picture"])
    found = standing_out(pictures, options)
    images = rows.merge(found[["label", "source"]]).groupby(["label", "source"])["row"].agg(list)
    found["rows"] = [images[label, number] for label, number in zip(found["label"], found["source"], strict=True)]
    scores = np.full(len(samples), np.nan, np.float32)
    scores[judged] = 0
    for share, of_source in zip(found["share"], found["rows"], strict=True):
        scores[of_source] = share
    of_classes = {str(label): [*of_class.itertuples(index=False)] for label, of_class in found.groupby("label", sort=True)}
    sizes = pictures["label"].value_counts()
    large = sizes.index[sizes >= options.fewest]
    if most_classes(large.isin(list(of_classes))):
        return Result(scores, [_of_dataset(of_classes, len(large), samples, class_words)])
    return Result(scores, [_of_class(label, sources, samples, class_words) for label, sources in of_classes.items()])


def standing_out(pictures: pd.DataFrame, options: Options) -> pd.DataFrame:
    """Return which sources hold much of which class.

    Args:
        pictures: a row per class, source and picture: columns ``label`` and ``source``, -1 where it is unknown.
        options: what is much.

    Returns:
        A row per class and source to report, the largest share first: ``label``, ``source``, ``own`` pictures, ``share`` of the class, share
        ``elsewhere``, adjusted ``p``.
    """
    total = len(pictures)
    by_class, by_source = pictures["label"].value_counts(), pictures.loc[pictures["source"] >= 0, "source"].value_counts()
    # A source of fewer pictures cannot be reported. Its p-value is small wherever its picture is: thousands of such would let chance in.
    sources = by_source.index[by_source >= options.fewest]
    counts = pictures[pictures["source"].isin(sources)].groupby(["label", "source"]).size().rename("own").reset_index()
    in_class, in_source, own = (
        np.asarray(column, np.int64) for column in (counts["label"].map(by_class), counts["source"].map(by_source), counts["own"])
    )
    counts["share"] = own / in_class
    counts["elsewhere"] = (in_source - own) / np.maximum(total - in_class, 1)
    large = (own >= options.fewest) & (counts["share"] >= options.least_share) & (counts["share"] >= options.factor * counts["elsewhere"])
    counts["p"] = adjusted_p(concentration_p(own, in_class, in_source, total), large, tests=len(by_class) * len(sources))
    return counts[counts["p"] <= options.false_discoveries].sort_values(["share", "source"], ascending=[False, True])


def _of_class(label: str, sources: list[Any], samples: pd.DataFrame, class_words: Mapping[str, str]) -> Finding:
    first, *others = [_evidence(found, samples) for found in sources]
    further = f" (further sources: {len(others)})" if others else ""
    splits = first["splits"]
    advice = f"keep it in one split (it lies in {' and '.join(splits)})" if len(splits) > 1 else "collect from more sources"
    message = (
        f"{first['share_of_class']:.0%} of the class {class_name(label, class_words)} ({first['pictures']} pictures) come from one source "
        f"({', '.join(first['source'].values())}) that holds {first['share_of_rest']:.1%} of the rest{further}: "
        f"they say less than their number, and the source gives the class away; {advice}."
    )
    return Finding(kind="same_source", score=first["share_of_class"], message=message, label=label, evidence={**first, "further": others})


def _of_dataset(of_classes: dict[str, list[Any]], judged: int, samples: pd.DataFrame, class_words: Mapping[str, str]) -> Finding:
    """Return the one finding about a dataset of which most classes have a source each, those with the largest first."""
    largest = sorted(of_classes, key=lambda label: (-of_classes[label][0].share, label))
    shown = {label: _evidence(of_classes[label][0], samples) for label in largest[:_EXAMPLES]}
    splits = samples["split"].to_numpy(object)
    apart = sum(len({splits[row] for row in sources[0].rows if pd.notna(splits[row])}) > 1 for sources in of_classes.values())
    such = ", ".join(
        f"{told['share_of_class']:.0%} of {class_name(label, class_words)} ({', '.join(told['source'].values())})"
        for label, told in list(shown.items())[:3]
    )
    lie = "that of 1 class lies" if apart == 1 else f"those of {apart:,} classes lie"
    several = f", and keep each source in one split ({lie} in several)" if apart else ""
    message = (
        f"Of {len(largest):,} of {judged:,} classes much comes from one source that others hardly have, such as {such}: "
        f"the source gives the class away, and its pictures say less than their number; collect so that classes share sources{several}."
    )
    evidence = {
        "classes_given_away": len(largest),
        "classes_judged": judged,
        "classes_in_several_splits": apart,
        "images": sum(len(found.rows) for sources in of_classes.values() for found in sources),
        "example_classes": list(shown),
        "largest_sources": [{name: value for name, value in told.items() if name != "examples"} for told in shown.values()],
        "examples": [told["examples"][0] for told in shown.values()],
    }
    return Finding(kind="same_source", score=len(largest) / judged, message=message, evidence=evidence)


def _evidence(found: Any, samples: pd.DataFrame) -> dict[str, Any]:
    images = samples.iloc[found.rows].sort_values("sample_id")
    first = images.iloc[0]
    session = pd.notna(first["camera"]) and pd.notna(first["day_code"])
    parts = {
        "camera": f"camera {first['camera']!r}" if pd.notna(first["camera"]) else None,
        "day": "one day or few" if pd.notna(first["day_code"]) else None,
        "size": None if session else f"{int(first['width'])} x {int(first['height'])} pixels",
        "encoder": None if session or pd.isna(first["encoder"]) else f"JPEG of {first['encoder']}",
    }
    return {
        "source": {name: text for name, text in parts.items() if text},
        "images": len(images),
        "pictures": int(found.own),
        "share_of_class": float(found.share),
        "share_of_rest": float(found.elsewhere),
        "adjusted_p": float(found.p),
        "splits": {str(split): int(count) for split, count in images["split"].value_counts().sort_index().items()},
        "examples": images["sample_id"].tolist()[:_EXAMPLES],
    }
