"""Pairs: verify which images are duplicates; candidates that an earlier scan verified are not verified again."""

from __future__ import annotations

import contextlib

import pyarrow as pa

from audit.io.artifacts import write_table
from audit.pairs.reuse import UNLIKE, KnownPairs, load
from audit.pipeline.code_digest import code_digest
from audit.pipeline.stage import Scan, Stage
from audit.run.record import key_of
from audit.run.tables import open_rows
from audit.tables import PAIRS

_CODE = "audit.pairs.pairs"


class Pairs(Stage):
    """Verifies duplicate candidates."""

    name = "pairs"
    files = ("pairs.parquet", UNLIKE)

    def key(self, scan: Scan) -> str:
        """Return a digest of the neighbors, the measures, the options and the code."""
        measured = key_of(scan.state("ingest")["key"])
        return key_of(scan.state("neighbors")["key"], measured, scan.options.min_precision, code_digest(_CODE))

    def run(self, scan: Scan) -> dict[str, object]:
        """Write the verified pairs."""
        from audit.pairs.confirmation import Confirmation
        from audit.pairs.pairs import Images, PairOptions, find_pairs

        run, samples, observer, options = scan.run, scan.samples, scan.observer, scan.options
        scan.record.rely_on("thumbnails.npy", "features.npy", "neighbors.npy", "similarities.npy")
        scan.record.is_sound(UNLIKE)
        plan = code_digest(_CODE)
        known = load(run) if scan.state(self.name).get("plan") == plan else KnownPairs()
        scan.record.begin(self)
        rows = len(samples)
        observer.stage("pairs", rows)
        with contextlib.closing(Confirmation(scan.reader, samples["source_ref"].tolist(), options.workers)) as confirm:
            found = find_pairs(
                samples,
                open_rows(run, "thumbnails", rows),
                open_rows(run, "neighbors", rows),
                open_rows(run, "similarities", rows),
                Images(open_rows(run, "features", rows), confirm),
                options=PairOptions(min_precision=options.min_precision),
                known=known,
                advance=observer.advance,
            )
        write_table(run / "pairs.parquet", pa.Table.from_pandas(found.table, PAIRS, preserve_index=False))
        found.known.save(run)
        if found.limited:
            observer.note(f"pairs: {found.left_out:,} likely pairs were left out after {found.compared:,}, the most that are compared")
        if found.unreadable:
            observer.note(f"pairs: {found.unreadable:,} likely pairs were not compared: an image can no longer be read")
        point = found.operating_point
        return {
            "plan": plan,
            "pairs": len(found.table),
            "verified": point.pairs,
            "compared": found.compared,
            "left_out": found.left_out,
            "least_score": point.least_score,
            "expected_precision": point.expected_precision,
            "interval": point.interval,
        }
