"""How many label findings about untouched images change when a few other images change: ``python benchmarks/stability.py RUN ...``.

For each finished run, one image or 1% of the images are added, removed or replaced, and the predictions are fitted again from the stored embeddings.
Counts untouched images that moved to another fold, those whose label is reported (probability 0.5) in both versions, and in only one of them.
"""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt

from audit import Run, open_run
from audit.labels.quality import judge_labels, label_codes
from audit.predictions.out_of_sample import out_of_sample

REPORTED = 0.5


def reported(run: Run, rows: npt.NDArray[np.int64]) -> tuple[set[int], dict[int, int]]:
    """Return the reported ones among some rows, and the fold of each row."""
    samples = run.columns("label", "content_id", rows=rows)
    images = samples["content_id"].to_numpy(object).astype("S64")
    given = label_codes(samples["label"], run.classes)
    found = out_of_sample(run.embeddings[rows], given.astype(np.int32), np.arange(len(rows)), images=images)
    wrong = judge_labels(found.probabilities, given, images=images)["probability_wrong"].to_numpy()
    return set(rows[wrong >= REPORTED].tolist()), dict(zip(rows.tolist(), found.fold.tolist(), strict=True))


def main(paths: list[str]) -> None:
    """Print a table."""
    print(f"{'run':<12} {'change':<14} {'images':>7} {'other fold':>10} {'reported':>8} {'changed':>8}")
    for path in paths:
        run = open_run(path)
        usable = np.flatnonzero(np.isfinite(run.embeddings[:, 0]) & run.columns("label")["label"].notna().to_numpy(bool))
        random = np.random.default_rng(0)
        shuffled, few = random.permutation(usable), max(len(usable) // 100, 1)
        base = np.sort(shuffled[few:])
        versions = {"1 added": shuffled[few - 1 :], "1% added": shuffled, "1% removed": shuffled[2 * few :], "1% replaced": shuffled[:-few]}
        before, fold = reported(run, base)
        for name, rows in versions.items():
            after, other = reported(run, np.sort(rows))
            both = fold.keys() & other.keys()
            moved = sum(fold[row] != other[row] for row in both) / len(both)
            changed = (before ^ after) & both
            print(f"{run.path.name:<12} {name:<14} {len(rows):>7,} {moved:>10.1%} {len(before & both):>8,} {len(changed):>8,}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
