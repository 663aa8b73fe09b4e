"""``imagenet-audit inspect``: show how a dataset would be read, without reading images."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audit.commands.base import OUTPUT, PROGRAM, READING, of_source, print_json, print_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pyarrow as pa

_SHOWN = 8
"""Names listed of each column."""


@click.command()
@click.argument("source", type=str)
@READING
@click.option("--offline", is_flag=True, help="Refuse a dataset that needs the network.")
@OUTPUT
def inspect(source: str, *, offline: bool, as_json: bool, color: bool | None, **options: Any) -> None:
    """Show how a scan would read SOURCE: splits, classes, labels, metadata.

    It lists the dataset and reads no pixels. Doubtful choices are listed with the option for the other reading.
    """
    from audit.config import load
    from audit.ingest.listing import list_samples
    from audit.sources import open_source
    from audit.sources.storage.files import network_forbidden

    reading = load({"source": of_source(options)}, Path.cwd()).source
    with network_forbidden(forbidden=offline):
        dataset = open_source(source, reading)
        listing, problems = list_samples(dataset, lambda _: None)
    found = {
        "source": dataset.location,
        "kind": dataset.kind,
        **describe(listing),
        "ignored": dict(dataset.ignored),
        "problems": [problem.as_json() for problem in problems],
    }
    if as_json:
        print_json(found)
    else:
        print_text("\n".join(_lines(found, source)), color=color)


def describe(listing: pa.Table) -> dict[str, Any]:
    """Return counts and examples of a listing: images, splits, classes, labels and metadata columns.

    Args:
        listing: columns of ``audit.tables.LISTING``.
    """
    rows = listing.select(["sample_id", "split", "label", "labels", "metadata", "fingerprint"]).to_pylist()
    splits: Counter[str | None] = Counter()
    classes: Counter[str] = Counter()
    examples: dict[str, str] = {}
    columns: dict[str, Counter[str]] = defaultdict(Counter)
    several = none = missing = 0
    for row in rows:
        splits[row["split"]] += 1
        labels = row["labels"] or ([] if row["label"] is None else [row["label"]])
        classes.update(labels)
        none += not labels
        several += len(labels) > 1
        missing += row["fingerprint"] == "missing"
        for label in labels:
            examples.setdefault(label, row["sample_id"])
        for name, value in json.loads(row["metadata"] or "{}").items():
            columns[name][str(value)] += 1
    return {
        "images": len(rows),
        "missing": missing,
        "splits": {name or "(none)": count for name, count in _most(splits)},
        "classes": {name: {"images": count, "example": examples[name]} for name, count in _most(classes)},
        "unlabelled": none,
        "several_labels": several,
        "groups": [name for name, values in sorted(columns.items()) if 2 <= len(values) <= values.total() / 2],
        # Values may be personal: they are counted, not shown.
        "metadata": {name: {"values": len(values), "most_frequent": max(values.values())} for name, values in sorted(columns.items())},
    }


def _most(counts: Counter[Any]) -> list[tuple[Any, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))


def _lines(found: Mapping[str, Any], source: str) -> Iterable[str]:
    from audit.io.console import counted
    from audit.sources.storage.problems import named

    yield f"{found['source']}  (kind {found['kind']}: {counted(found['images'], 'image')})"
    splits = [f"{name} {count:,}" for name, count in found["splits"].items()]
    yield f"splits    {'none' if list(found['splits']) == ['(none)'] else named(splits, len(splits), _SHOWN)}"
    classes = [f"{name} {one['images']:,}" for name, one in found["classes"].items()]
    yield f"classes   {': '.join(filter(None, (f'{len(classes):,}', named(classes, len(classes), _SHOWN))))}"
    for name, one in list(found["classes"].items())[:3]:
        yield f"          {name}: {one['example']}"
    labelled = counted(found["images"] - found["unlabelled"], "image")
    yield f"labels    {labelled} with a label, {found['unlabelled']:,} without, {found['several_labels']:,} with several"
    for name, one in found["metadata"].items():
        yield f"metadata  {name}: {counted(one['values'], 'value')}, the most frequent of {counted(one['most_frequent'], 'image')}"
    yield f"groups    columns that could be groups: {', '.join(found['groups']) or 'none'}"
    if found["missing"]:
        yield f"missing   {counted(found['missing'], 'listed file')}"
    if found["ignored"]:
        ignored = [f"{name} {count:,}" for name, count in found["ignored"].items()]
        yield f"ignored   {named(ignored, len(ignored), _SHOWN)}"
    for problem in found["problems"]:
        yield f"{problem['severity']}: {problem['message']}"
    yield f"next: {PROGRAM} scan {source} --out RUN, with the same options"
