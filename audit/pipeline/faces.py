"""Faces: detect faces; images that an earlier scan looked at are not read again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from audit.errors import RunError
from audit.io.artifacts import open_array, read_table, to_frame, write_array, write_table
from audit.pipeline.code_digest import code_digest
from audit.pipeline.stage import Scan, Stage
from audit.run.identity import old_rows
from audit.run.record import digest_of, key_of
from audit.tables import FACES

_TABLE, _IMAGES = "faces.parquet", "state/faces-of.npy"
_CODE = "audit.images.faces"


class Faces(Stage):
    """Detects faces, where requested."""

    name = "faces"
    files = (_TABLE, _IMAGES)

    def key(self, scan: Scan) -> str:
        """Return a digest of the images and the code."""
        return key_of(code_digest(_CODE), digest_of(scan.images))

    def run(self, scan: Scan) -> dict[str, object] | None:
        """Write the faces."""
        from audit.images.faces import find_faces

        if not scan.wants_faces:
            return None
        kept, missing = self._kept(scan)
        scan.record.begin(self)
        rows = np.flatnonzero(missing)
        scan.observer.stage("faces", len(rows))
        refs = scan.samples["source_ref"].iloc[rows].tolist()
        found = find_faces(scan.reader, rows, refs, workers=scan.options.workers, advance=scan.observer.advance)
        together = pd.concat([part for part in (kept, found.to_pandas()) if len(part)] or [kept])
        ordered = together.sort_values(["row", "confidence"], ascending=[True, False], kind="stable")
        write_table(scan.run / _TABLE, pa.Table.from_pandas(ordered, FACES, preserve_index=False))
        (scan.run / "state").mkdir(exist_ok=True)
        write_array(scan.run / _IMAGES, scan.images)
        return {"plan": code_digest(_CODE), "faces": len(ordered), "looked_at": len(rows)}

    def _kept(self, scan: Scan) -> tuple[pd.DataFrame, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
        """Return the faces that an earlier scan found in images of this one, and which images remain to be read, bool ``[n]``."""
        none, readable = FACES.empty_table().to_pandas(), scan.images != b""
        if scan.state(self.name).get("plan") != code_digest(_CODE) or not all((scan.run / name).is_file() for name in self.files):
            return none, readable
        if not scan.record.is_sound(*self.files):
            return none, readable
        try:
            before, images = to_frame(read_table(scan.run / _TABLE)), open_array(scan.run / _IMAGES)
        except RunError as error:
            scan.observer.note(f"faces: {error.where}: {error.problem}; all images are read again")
            return none, readable
        old_row = old_rows(images, scan.images)
        known = old_row >= 0
        new_row = pd.Series(np.flatnonzero(known), index=old_row[known])
        kept = before[before["row"].isin(new_row.index)]
        return kept.assign(row=new_row.reindex(kept["row"]).to_numpy(np.int32)), readable & ~known
