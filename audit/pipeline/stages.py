"""The stages of a scan after ingest: each reads what earlier ones wrote, writes its own files once, and is skipped while its inputs stay the same."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from audit.errors import AuditError, RunError
from audit.io.artifacts import filling, open_array, read_table, to_frame, write_array, write_table
from audit.io.progress import Observer
from audit.run.identity import identities, ordinal_index
from audit.run.record import FILES, Record, key_of
from audit.run.tables import open_rows
from audit.tables import FACES, LABEL_QUALITY, PAIRS

if TYPE_CHECKING:
    from audit.config import ScanOptions
    from audit.engines import Engine
    from audit.neighbors.search import PreviousNeighbors
    from audit.sources import Source


SEARCH = "audit.neighbors.search"
"""The module whose code finds neighbors, with all it imports."""


def find_neighbors(
    run: Path, samples: pd.DataFrame, record: Record, key: str, options: ScanOptions, engine: Engine, observer: Observer
) -> dict[str, object]:
    """Write ``neighbors.npy`` and ``similarities.npy``; only changed rows are searched where most are known. Returns facts for the record."""
    from audit.neighbors.backends import PROCESSORS
    from audit.neighbors.search import GPU_FROM, search

    record.rely_on("embeddings.npy")
    mine = identities(samples)
    try:
        previous = _previous_neighbors(run, record, mine, key, options.neighbors)
    except RunError as error:
        observer.note(f"neighbors: {error.where}: {error.problem}; all rows are searched anew")
        previous = None
    record.begin("neighbors")
    backend = engine.backend(options.device) if len(samples) >= GPU_FROM else PROCESSORS
    if backend.reason:
        observer.note(backend.reason)
    observer.stage("neighbors", len(samples))
    found = search(
        open_rows(run, "embeddings", len(samples)),
        k=options.neighbors,
        seed=options.seed,
        previous=previous,
        advance=observer.advance,
        spread=engine.search,
        backend=backend,
    )
    write_array(run / "neighbors.npy", found.indices)
    write_array(run / "similarities.npy", found.similarities)
    (run / "state").mkdir(exist_ok=True)
    write_array(run / "state/neighbors.npy", found.known.indices)
    write_array(run / "state/similarities.npy", found.known.similarities)
    write_array(run / "state/neighbors-of.npy", mine)
    plan = _neighbor_plan(record, options.neighbors)
    return {"method": found.method, "recall": found.recall, "plan": plan, "complete": found.known.complete}


def _neighbor_plan(record: Record, k: int) -> str:
    from audit.pipeline.code_digest import code_digest

    return key_of(record.content["backbone"], k, code_digest(SEARCH))


def _previous_neighbors(run: Path, record: Record, mine: npt.NDArray[np.bytes_], key: str, k: int) -> PreviousNeighbors | None:
    from audit.neighbors.search import Known, PreviousNeighbors

    state = record.content["stages"].get("neighbors", {})
    if state.get("plan") != _neighbor_plan(record, k) or state.get("key") == key or not all((run / name).is_file() for name in FILES["neighbors"]):
        return None
    if not record.is_sound(*(name for name in FILES["neighbors"] if name.startswith("state/"))):
        return None
    before = open_array(run / "state/neighbors-of.npy")
    old_row = ordinal_index(before).get_indexer(ordinal_index(mine)).astype(np.int64)
    old_row[mine == b""] = -1
    # Copies, not maps: the files they come from are about to be replaced.
    indices, similarities = (np.array(open_array(run / name, len(before))) for name in ("state/neighbors.npy", "state/similarities.npy"))
    if indices.shape != similarities.shape or indices.min(initial=-1) < -1 or indices.max(initial=-1) >= len(before):
        raise RunError(run / "state/neighbors.npy", "damaged: names rows that there were none of", "delete this file and scan again")
    known = Known(indices, similarities, complete=state.get("complete", False))
    return PreviousNeighbors(known, state.get("method") == "exact", old_row)


def find_pairs(run: Path, samples: pd.DataFrame, record: Record, options: ScanOptions, observer: Observer) -> dict[str, object]:
    """Write ``pairs.parquet``; candidates verified by an earlier scan are not verified again. Returns facts for the record."""
    import pyarrow as pa

    from audit.pairs.pairs import PairOptions, find_pairs
    from audit.pairs.reuse import KnownPairs, load
    from audit.pipeline.code_digest import code_digest

    record.rely_on("thumbnails.npy", "neighbors.npy", "similarities.npy")
    record.is_sound("state/unlike.npy")
    plan = code_digest("audit.pairs.pairs")
    known = load(run) if record.content["stages"].get("pairs", {}).get("plan") == plan else KnownPairs()
    record.begin("pairs")
    rows = len(samples)
    observer.stage("pairs", rows)
    found = find_pairs(
        samples,
        open_rows(run, "thumbnails", rows),
        open_rows(run, "neighbors", rows),
        open_rows(run, "similarities", rows),
        options=PairOptions(min_precision=options.min_precision),
        known=known,
        advance=observer.advance,
    )
    write_table(run / "pairs.parquet", pa.Table.from_pandas(found.table, PAIRS, preserve_index=False))
    found.known.save(run)
    point = found.operating_point
    return {
        "plan": plan,
        "pairs": len(found.table),
        "verified": point.pairs,
        "least_score": point.least_score,
        "expected_precision": point.expected_precision,
        "interval": point.interval,
    }


def find_faces(
    run: Path, samples: pd.DataFrame, source: Source, plan: str, record: Record, options: ScanOptions, observer: Observer
) -> dict[str, object]:
    """Write ``faces.parquet``; images that an earlier scan looked at are not read again. Returns facts for the record."""
    import pyarrow as pa

    from audit.images.faces import find_faces

    mine = identities(samples)
    wanted = mine != b""
    kept = FACES.empty_table().to_pandas()
    is_known = record.content["stages"].get("faces", {}).get("plan") == plan and all((run / name).is_file() for name in FILES["faces"])
    if is_known and record.is_sound(*FILES["faces"]):
        try:
            before, of = to_frame(read_table(run / "faces.parquet")), open_array(run / "state/faces-of.npy")
        except RunError as error:
            observer.note(f"faces: {error.where}: {error.problem}; all images are looked at anew")
        else:
            old_row = ordinal_index(of).get_indexer(ordinal_index(mine)).astype(np.int64)
            known = wanted & (old_row >= 0)
            new_row = pd.Series(np.flatnonzero(known), index=old_row[known])
            kept = before[before["row"].isin(new_row.index)]
            kept = kept.assign(row=new_row.reindex(kept["row"]).to_numpy(np.int32))
            wanted &= ~known
    record.begin("faces")
    rows = np.flatnonzero(wanted)
    observer.stage("faces", len(rows))
    refs = samples["source_ref"].iloc[rows].tolist()
    found = find_faces(source, rows, refs, max_pixels=options.max_pixels, workers=options.workers, advance=observer.advance)
    together = pd.concat([part for part in (kept, found.to_pandas()) if len(part)] or [kept])
    ordered = together.sort_values(["row", "confidence"], ascending=[True, False], kind="stable")
    write_table(run / "faces.parquet", pa.Table.from_pandas(ordered, FACES, preserve_index=False))
    (run / "state").mkdir(exist_ok=True)
    write_array(run / "state/faces-of.npy", mine)
    return {"plan": plan, "faces": len(ordered), "looked_at": len(rows)}


def predictions_plan(options: ScanOptions) -> str:
    """Return a digest of how predictions are made: the code, and what a file of the user's own holds.

    Raises:
        AuditError: there is no such file, or it cannot be read.
    """
    from audit.pipeline.code_digest import code_digest

    if options.predictions is None:
        return code_digest("audit.pipeline.predictions", "audit.predictions.multilabel", "audit.labels.quality", "audit.labels.sets")
    try:
        with Path(options.predictions).open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AuditError(
            options.predictions, f"cannot be read: {error.strerror}", "name a .npy, .parquet or .csv file of class probabilities"
        ) from None
    return key_of(content, code_digest("audit.predictions.user", "audit.labels.quality", "audit.labels.sets"))


def predict(
    run: Path, samples: pd.DataFrame, pairs: pd.DataFrame, classes: list[str], options: ScanOptions, record: Record, observer: Observer
) -> dict[str, object]:
    """Write ``predictions.npy`` and ``label_quality.parquet``; every duplicate group is in one fold. Returns facts for the record."""
    import pyarrow as pa

    from audit.labels.quality import judge_labels, label_codes

    if options.predictions is None:
        record.rely_on("embeddings.npy")
    if samples["labels"].notna().any():
        return _predict_sets(run, samples, pairs, classes, options, record, observer)
    codes = label_codes(samples["label"], classes)
    before = {name: value for name, value in record.content["stages"].get("predictions", {}).items() if name not in ("state", "key")}
    plan = key_of(record.content["backbone"], predictions_plan(options), classes, options.seed, options.min_precision)
    if before.get("plan") == plan:
        record.is_sound("predictions.npy")  # else its rows would be carried over
    record.begin("predictions")
    observer.stage("predictions", len(samples))
    if options.predictions is None:
        from audit.backbones.runtime import own_device
        from audit.pipeline.predictions import predict as predict_rows

        facts = predict_rows(
            run,
            identities(samples),
            codes.astype(np.int32),
            fold_groups(len(samples), pairs),
            plan=plan,
            before=before,
            seed=options.seed,
            device=own_device(options.device),  # the images may have been embedded on another machine's
            observer=observer,
        )
    else:
        from audit.predictions.user import load_predictions

        with filling(run / "predictions.npy", (len(samples), len(classes)), np.float32) as into:
            found = load_predictions(options.predictions, samples["sample_id"].tolist(), classes, codes, into=into)
        codes[np.isin(codes, [classes.index(name) for name in found.record["unknown_classes"]])] = -1
        facts = dict(found.record)
        del found, into  # a mapped table that nobody holds no longer counts as memory
    quality = judge_labels(open_rows(run, "predictions", len(samples)), codes, pairs, images=identities(samples))
    write_table(run / "label_quality.parquet", pa.Table.from_pandas(quality, LABEL_QUALITY, preserve_index=False))
    return facts


def _predict_sets(
    run: Path, samples: pd.DataFrame, pairs: pd.DataFrame, classes: list[str], options: ScanOptions, record: Record, observer: Observer
) -> dict[str, object]:
    """As `predict`, where images have several labels."""
    import pyarrow as pa

    from audit.labels.conflicts import disagreeing_duplicate_sets
    from audit.labels.sets import judge_label_sets, membership, set_codes, sets_of_labels

    labels = sets_of_labels(samples)
    given = membership(labels, classes)
    record.begin("predictions")
    observer.stage("predictions", len(samples))
    with filling(run / "predictions.npy", (len(samples), len(classes)), np.float32) as into:
        if options.predictions is None:
            from audit.predictions.multilabel import out_of_sample_sets

            embeddings = open_rows(run, "embeddings", len(samples))
            groups, images = fold_groups(len(samples), pairs), identities(samples)
            found = out_of_sample_sets(embeddings, given, groups, images=images, seed=options.seed, into=into, advance=observer.advance)
        else:
            from audit.predictions.user import load_predictions

            found = load_predictions(options.predictions, samples["sample_id"].tolist(), classes, several=True, into=into)
    facts = dict(found.record)
    del found, into  # a mapped table that nobody holds no longer counts as memory
    quality = judge_label_sets(open_rows(run, "predictions", len(samples)), given, disagreeing_duplicate_sets(pairs, set_codes(labels)))
    write_table(run / "label_quality.parquet", pa.Table.from_pandas(quality, LABEL_QUALITY, preserve_index=False))
    return facts


def fold_groups(rows: int, pairs: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return a group id per row: rows joined by verified pairs, however loosely, share one, so that no copy vouches for another."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs), bool), (pairs["i"].to_numpy(), pairs["j"].to_numpy())), shape=(rows, rows))
    _, groups = connected_components(links, directed=False)
    return np.asarray(groups, dtype=np.int64)
