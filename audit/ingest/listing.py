"""List a source's samples as one table; every other table of the run has the same row order."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from audit.errors import SourceError
from audit.io.console import counted
from audit.sources import Sample, Source
from audit.sources.annotations.grouping import Grouping, possible_groups, refuse_unknown
from audit.sources.annotations.layout import usual_split
from audit.sources.storage.faults import readable
from audit.sources.storage.problems import EXAMPLES, Problem, Tally, named
from audit.tables import LISTING

_JOINTS = re.compile(r"[|;,]")
_ROWS_AT_ONCE = 65_536


class Listing(NamedTuple):
    """A dataset's listing."""

    table: pa.Table
    """Columns of ``audit.tables.LISTING``, sorted by sample id."""
    problems: tuple[Problem, ...]
    """Problems of the listing as a whole."""


def list_samples(source: Source, advance: Callable[[int], None], grouping: Grouping | None = None) -> Listing:
    """List a source's samples, sorted by sample id.

    Args:
        source: the dataset.
        advance: called with the number of newly listed samples.
        grouping: how the groups of images are found; None for no groups.

    Raises:
        SourceError: there are no samples, two entries of one id have different labels or splits, or the source is corrupt or unreachable.
    """
    samples, grouping = source.collect(), grouping or Grouping()
    batches = []
    columns: dict[str, None] = {}
    with readable(source.location):
        while some := list(islice(samples, _ROWS_AT_ONCE)):
            batches.append(_batch(some, grouping))
            columns |= dict.fromkeys(name for sample in some for name in sample.metadata) if grouping.column is not None else {}
            advance(len(some))
    table = pa.Table.from_batches(batches, LISTING).sort_by("sample_id").combine_chunks()
    if not len(table):
        raise SourceError(source.location, "contains no images", "pass a folder, tar, manifest or shard pattern that does; see docs/sources.md")
    refuse_unknown(grouping, source.location, len(table) - table["group"].null_count, list(columns))
    table, repeated = _without_repeats(table, source)
    classes = _names(table["label"], pc.list_flatten(table["labels"]))
    parts = _joined(classes)
    if parts:
        table = _parted(table, parts)
        classes = _names(table["label"], pc.list_flatten(table["labels"]))
    named = () if grouping != Grouping() else possible_groups(*(table[name].to_pylist() for name in ("sample_id", "label", "split")))
    problems = (*source.problems, *repeated, *_similar(classes, _names(table["split"])), *_of_joined(parts), *named)
    return Listing(table, problems)


def listing_key(table: pa.Table) -> str:
    """Return a digest of a listing's ids, references, fingerprints, splits, labels and metadata."""
    digest = hashlib.sha256()
    for batch in table.combine_chunks().to_batches(_ROWS_AT_ONCE):
        digest.update(batch.serialize())
    return digest.hexdigest()


def _batch(samples: list[Sample], grouping: Grouping) -> pa.RecordBatch:
    columns = {
        "sample_id": [sample.sample_id for sample in samples],
        "source_ref": [sample.source_ref for sample in samples],
        "fingerprint": [sample.fingerprint for sample in samples],
        "split": [sample.split for sample in samples],
        "label": [sample.label for sample in samples],
        "labels": [None if sample.labels is None else list(sample.labels) for sample in samples],
        "metadata": [json.dumps(dict(sample.metadata), sort_keys=True, default=str) if sample.metadata else None for sample in samples],
        "group": [grouping.of(sample) for sample in samples],
    }
    return pa.RecordBatch.from_pydict(columns, LISTING)


def _without_repeats(table: pa.Table, source: Source) -> tuple[pa.Table, list[Problem]]:
    """Keep the last entry of each sample id, as unpacking a tar does. Raises SourceError if entries of one id contradict each other."""
    ids = table["sample_id"]
    repeats = np.append(pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1)).to_numpy(), False)
    if not repeats.any():
        return table, []
    before, after = (table.select(["sample_id", "split", "label", "labels"]).take(pa.array(np.flatnonzero(repeats) + step)) for step in (0, 1))
    names = Tally()
    for earlier, later in zip(before.to_pylist(), after.to_pylist(), strict=True):
        if earlier != later:
            raise _contradiction(source, earlier, later)
        names.add(repr(earlier["sample_id"]))
    entries = "1 entry" if names.count == 1 else f"{names.count:,} entries"
    problem = f"{entries} of {source.location} for images that a later entry repeats: {names}; the last entry is used"
    hint = "keep one entry per image"
    return table.filter(pa.array(~repeats)), [Problem(kind="listed_twice", problem=problem, hint=hint, evidence={"entries": names.count})]


def _contradiction(source: Source, earlier: Mapping[str, object], later: Mapping[str, object]) -> SourceError:
    locate = getattr(source, "locate", None)  # only some sources have lines or byte offsets to report
    name = str(earlier["sample_id"])
    found = locate(name) if locate else []
    where = f" ({named(found, len(found))})" if found else ""
    what = next(word for word in ("split", "labels", "label") if earlier[word] != later[word])
    hint = "keep one of them, or list several labels in one cell" if what != "split" else "keep one of them"
    return SourceError(source.location, f"lists {name!r} with two different {what.removesuffix('s')}s{where}", hint)


def _names(*columns: pa.ChunkedArray) -> list[str]:
    return sorted({name for column in columns for name in pc.unique(column).drop_null().to_pylist()})


def _similar(classes: list[str], splits: list[str]) -> Iterator[Problem]:
    """Yield a problem for classes whose names look the same, and one for splits with two names."""
    of_classes = "class names differ only in case, white space or Unicode form"
    of_splits = "split names look like two names of one split"
    for kind, what, problem, names, normalize in (
        ("similar_classes", "classes", of_classes, classes, _normalized),
        ("similar_splits", "splits", of_splits, splits, lambda name: usual_split(name.strip()) or _normalized(name)),
    ):
        groups: dict[str, list[str]] = defaultdict(list)
        for name in names:
            groups[normalize(name)].append(name)
        found = [group for group in groups.values() if len(group) > 1]
        if found:
            shown = named((" and ".join(map(repr, group)) for group in found), len(found))
            yield Problem(kind=kind, problem=f"{problem}: {shown}", hint=f"merge or rename these {what}", evidence={"names": found[:EXAMPLES]})


def _normalized(name: str) -> str:
    if name.isdigit():
        return name.lstrip("0") or "0"
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _joined(classes: list[str]) -> dict[str, list[str]]:
    """Return the labels that are several joined by ``|``, ``;`` or commas, and their parts: each part is also a class of its own."""
    known = set(classes)
    parts = {name: [part.strip() for part in _JOINTS.split(name)] for name in classes if _JOINTS.search(name)}
    return {name: found for name, found in parts.items() if known.issuperset(found)}


def _parted(table: pa.Table, parts: Mapping[str, list[str]]) -> pa.Table:
    """Return the table with joined labels as several labels."""
    given = zip(table["label"].to_pylist(), table["labels"].to_pylist(), strict=True)
    several = [parts.get(label) if labels is None else labels for label, labels in given]
    label = pc.if_else(pc.is_in(table["label"], pa.array(parts)), pa.scalar(None, pa.string()), table["label"])
    at = table.schema.get_field_index("label")
    table = table.set_column(at, LISTING.field("label"), label)
    return table.set_column(table.schema.get_field_index("labels"), LISTING.field("labels"), pa.array(several, LISTING.field("labels").type))


def _of_joined(parts: Mapping[str, list[str]]) -> Iterator[Problem]:
    """Yield a problem for labels that were read as several."""
    if parts:
        shown = named(map(repr, sorted(parts)), len(parts))
        problem = f"{counted(len(parts), 'label')} joined from other class names, read as several labels: {shown}"
        hint = "if these are classes of their own, rename them without | ; and commas"
        yield Problem(kind="joined_labels", problem=problem, hint=hint, evidence={"entries": len(parts), "names": sorted(parts)[:EXAMPLES]})
