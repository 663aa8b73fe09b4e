"""Classes with a large share of images from one source: one camera on one day, or files of one size and encoding.

Why it matters: fifty frames of one afternoon carry less information than fifty images. If only one class has a source, a model can learn the source
instead of the class; and if its images are in both train and test, the test split measures memory.

How it works: a source is a camera on a day, if EXIF contains both; otherwise all that is known of camera, day, size and JPEG encoding, if that is at
least two of them. A source is reported if it contributes much of a class and, beyond chance, several times its share of the other classes; what the
whole dataset has in common is not reported. The false discovery rate is controlled over every class and every source that is large enough. Copies of
an image count once. If most classes have such a source, for example a camera each, there is one finding about the dataset.

Blind spots: files without metadata that were resized and re-encoded alike look like one source, as do encodings that differ in chroma alone, which
gray images lack. A source spread evenly over all classes is not reported. Dates are personal, so only one of 16 codes of the day is stored: one in
sixteen pairs of sessions of one camera count as one.

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
from audit.io.console import counted
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
    "encoder": Evidence("Encoding"),
    "images": Evidence("Images"),
    "pictures": Evidence("Distinct images"),
    "share_of_class": Evidence("Share of the class", "share"),
    "share_of_rest": Evidence("Share of the other classes", "share"),
    "adjusted_p": Evidence("Adjusted p-value", "p"),
    "splits": Evidence("Splits", by_name=True),
    "examples": Evidence("Examples"),
    "further": Evidence("Other sources"),
    "classes_given_away": Evidence("Classes with a source of their own"),
    "classes_judged": Evidence("Classes tested"),
    "classes_in_several_splits": Evidence("Classes whose source is in several splits"),
    "example_classes": Evidence("Example classes"),
    "largest_sources": Evidence("Largest sources", by_name=True),
}

_EXAMPLES = 5


@dataclass(frozen=True, kw_only=True)
class Options:
    """Thresholds; conventions, set before anything was measured."""

    least_share: float = 0.2
    """Share of a class's distinct images that one source must contribute; above 0, at most 1."""
    fewest: int = 10
    """Distinct images of the class that the source must contribute; at least 2."""
    factor: float = 3.0
    """Factor by which its share must exceed the share of the other classes; at least 1."""
    false_discoveries: float = 0.05
    """False discovery rate of the findings; above 0, below 1."""

    def __post_init__(self) -> None:
        require_shares(self, "least_share", example=0.2)
        require_between_0_and_1(self, "false_discoveries")
        for name, low in (("fewest", 2), ("factor", 1)):
            if not getattr(self, name) >= low:
                raise ConfigError(name, f"{getattr(self, name)} is too small", f"use {low} or more")


def sources_of(table: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return ``[n]`` the number of each image's source; -1 where too little is known.

    Args:
        table: columns ``camera``, ``day_code``, ``width``, ``height`` and ``encoder``.
    """
    camera, day, encoder = (pd.factorize(table[name])[0] for name in ("camera", "day_code", "encoder"))
    sides = np.sort(table[["width", "height"]].to_numpy(np.float64), axis=1)  # a rotated camera is the same camera
    size = pd.factorize(sides[:, 0] * 2**31 + sides[:, 1])[0]
    session = (camera >= 0) & (day >= 0)
    known = (camera >= 0).astype(int) + (day >= 0) + (encoder >= 0) + (size >= 0)
    keys = np.stack([camera, day, np.where(session, -1, size), np.where(session, -1, encoder)], axis=1)
    found = np.full(len(table), -1, np.int64)
    enough = np.flatnonzero(known >= 2)
    found[enough] = np.unique(keys[enough], axis=0, return_inverse=True)[1].ravel()
    return found


def run(samples: pd.DataFrame, pairs: pd.DataFrame, class_words: Mapping[str, str], *, options: Options) -> Result | Skipped:
    """Report classes with a large source; its images score its share of the class, other judged images 0."""
    judged = np.flatnonzero(((samples["outcome"] == "ok") & samples["label"].notna()).to_numpy(bool))
    if samples["label"].iloc[judged].nunique() < 2:
        return skipped_without_classes(samples, "fewer than two classes are labelled")
    table = samples.iloc[judged]
    source = sources_of(table)
    if (source < 0).all():
        return Skipped("camera, day and JPEG encoding are unknown for all images")
    rows = pd.DataFrame(
        {"label": table["label"].to_numpy(object), "source": source, "row": judged, "set": duplicate_sets(pairs, len(samples))[judged]}
    )
    distinct = rows.drop_duplicates(["label", "source", "set"])
    found = large_sources(distinct, options)
    images = rows.merge(found[["label", "source"]]).groupby(["label", "source"])["row"].agg(list)
    found["rows"] = [images[label, number] for label, number in zip(found["label"], found["source"], strict=True)]
    scores = np.full(len(samples), np.nan, np.float32)
    scores[judged] = 0
    for share, of_source in zip(found["share"], found["rows"], strict=True):
        scores[of_source] = share
    of_classes = {str(label): [*of_class.itertuples(index=False)] for label, of_class in found.groupby("label", sort=True)}
    note = _note(table, source)
    sizes = distinct["label"].value_counts()
    large = sizes.index[sizes >= options.fewest]
    if most_classes(large.isin(list(of_classes))):
        return Result(scores, [_of_dataset(of_classes, len(large), samples, class_words)], note)
    return Result(scores, [_of_class(label, sources, samples, class_words) for label, sources in of_classes.items()], note)


def _note(table: pd.DataFrame, source: npt.NDArray[np.int64]) -> str:
    """Return how many cameras, days and encodings were known, and how many sources they make."""
    cameras, days = int(table["camera"].nunique()), int(table["day_code"].nunique())
    with_camera = float(table["camera"].notna().mean())
    found = np.unique(source[source >= 0])
    encodings = counted(int(table["encoder"].nunique()), "JPEG encoding")
    return (
        f"compared {counted(len(found), 'source')} with the classes: {counted(cameras, 'camera')} (EXIF of {with_camera:.0%} of the images), "
        f"{counted(days, 'day code')}, {encodings}; sources in file names are not seen"
    )


def large_sources(distinct: pd.DataFrame, options: Options) -> pd.DataFrame:
    """Return the sources that contribute a large share of a class.

    Args:
        distinct: a row per class, source and distinct image: columns ``label`` and ``source``, -1 where unknown.
        options: the thresholds.

    Returns:
        A row per class and source to report, largest share first: ``label``, ``source``, ``own`` distinct images, ``share`` of the class, share
        ``elsewhere``, adjusted ``p``.
    """
    total = len(distinct)
    by_class, by_source = distinct["label"].value_counts(), distinct.loc[distinct["source"] >= 0, "source"].value_counts()
    # Smaller sources cannot be reported, and their p-values are always small: thousands of them would spoil the false discovery rate.
    sources = by_source.index[by_source >= options.fewest]
    counts = distinct[distinct["source"].isin(sources)].groupby(["label", "source"]).size().rename("own").reset_index()
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
    further = f" (other sources: {len(others)})" if others else ""
    splits = first["splits"]
    advice = f"Keep it in one split (it is in {' and '.join(splits)})" if len(splits) > 1 else "Collect from more sources"
    message = (
        f"{first['share_of_class']:.0%} of the class {class_name(label, class_words)} ({first['pictures']} distinct images) come from one source "
        f"({', '.join(first['source'].values())}), compared with {first['share_of_rest']:.1%} of the other classes{further}; a model can learn the "
        f"source instead of the class. {advice}."
    )
    return Finding(kind="same_source", score=first["share_of_class"], message=message, label=label, evidence={**first, "further": others})


def _of_dataset(of_classes: dict[str, list[Any]], judged: int, samples: pd.DataFrame, class_words: Mapping[str, str]) -> Finding:
    """Return the finding about a dataset in which most classes have a source each; the largest shares come first."""
    largest = sorted(of_classes, key=lambda label: (-of_classes[label][0].share, label))
    shown = {label: _evidence(of_classes[label][0], samples) for label in largest[:_EXAMPLES]}
    splits = samples["split"].to_numpy(object)
    apart = sum(len({splits[row] for row in sources[0].rows if pd.notna(splits[row])}) > 1 for sources in of_classes.values())
    such = ", ".join(
        f"{entry['share_of_class']:.0%} of {class_name(label, class_words)} ({', '.join(entry['source'].values())})"
        for label, entry in list(shown.items())[:3]
    )
    several = f", and keep each source in one split (now in several: {apart:,} {'class' if apart == 1 else 'classes'})" if apart else ""
    message = (
        f"{len(largest):,} of {judged:,} classes each have a large source that other classes hardly have, such as {such}; a model can learn the "
        f"source instead of the class. Collect images so that classes share sources{several}."
    )
    evidence = {
        "classes_given_away": len(largest),
        "classes_judged": judged,
        "classes_in_several_splits": apart,
        "images": sum(len(found.rows) for sources in of_classes.values() for found in sources),
        "example_classes": list(shown),
        "largest_sources": [{name: value for name, value in entry.items() if name != "examples"} for entry in shown.values()],
        "examples": [entry["examples"][0] for entry in shown.values()],
    }
    return Finding(kind="same_source", score=len(largest) / judged, message=message, evidence=evidence)


def _evidence(found: Any, samples: pd.DataFrame) -> dict[str, Any]:
    images = samples.iloc[found.rows].sort_values("sample_id")
    first = images.iloc[0]
    session = pd.notna(first["camera"]) and pd.notna(first["day_code"])
    parts = {
        "camera": f"camera {first['camera']!r}" if pd.notna(first["camera"]) else None,
        "day": "one day or a few" if pd.notna(first["day_code"]) else None,
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
