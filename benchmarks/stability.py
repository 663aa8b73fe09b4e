"""How many label reports about untouched images change when a few other images change: ``python benchmarks/stability.py RUN ...``.

For each finished run, one image or 1% of the images are added, removed or replaced, and the predictions are fitted again from the stored embeddings.
``--noise SHARE`` changes that share of the labels at random first, so that there are reports to count. Counts untouched images that moved to another
fold, and those whose label is reported in only one of the versions: by the threshold alone, and with each margin of `audit.labels.hysteresis`. The
last table chooses, for each run, the smallest margin that keeps the changes in all other runs together within 2% of their reports.
"""

from __future__ import annotations

import argparse

import numpy as np
import numpy.typing as npt

from audit import Run, open_run
from audit.labels import hysteresis
from audit.labels.quality import judge_labels, label_codes
from audit.predictions.out_of_sample import out_of_sample

THRESHOLD, MARGINS, MOST_ROWS, BAR = 0.5, (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6), 2_500, 0.02


def judged(run: Run, rows: npt.NDArray[np.int64], noise: float) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]:
    """Return by row of the run: the probability that the label is wrong, NaN for rows left out, and the fold."""
    samples = run.columns("label", "content_id", rows=rows)
    images = samples["content_id"].to_numpy(object).astype("S64")
    given = _with_noise(label_codes(samples["label"], run.classes), images, noise, len(run.classes))
    found = out_of_sample(run.embeddings[rows], given.astype(np.int32), np.arange(len(rows)), images=images)
    probability, fold = np.full(len(run), np.nan, np.float32), np.full(len(run), -1, np.int8)
    probability[rows] = judge_labels(found.probabilities, given, images=images)["probability_wrong"]
    fold[rows] = found.fold
    return probability, fold


def _with_noise(given: npt.NDArray[np.int64], images: npt.NDArray[np.bytes_], noise: float, classes: int) -> npt.NDArray[np.int64]:
    """Change labels by the content of the images, so that every version has the same ones."""
    digits = np.array([(int(image[:8], 16), int(image[8:16], 16)) for image in images])
    other = (given + 1 + digits[:, 1] % max(classes - 1, 1)) % classes
    return np.where((digits[:, 0] / 2**32 < noise) & (given >= 0), other, given)


def changed_reports(before: npt.NDArray[np.float32], after: npt.NDArray[np.float32], margin: float) -> int:
    """Return how many untouched images are reported in only one version."""
    both = np.isfinite(before) & np.isfinite(after)
    first = hysteresis.reported(before[both], THRESHOLD, None)
    return int((hysteresis.reported(after[both], THRESHOLD, first.astype(np.int8), margin=margin) != first).sum())


def main() -> None:
    """Print a table of changes, and one of margins."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--noise", type=float, default=0.0, metavar="SHARE", help="share of the labels that are changed at random first")
    options = parser.parse_args()
    print(f"{'run':<12} {'change':<12} {'images':>7} {'other fold':>10} {'reported':>8}   changed, by margin {MARGINS}")
    counts: dict[str, npt.NDArray[np.int64]] = {}
    for path in options.runs:
        run = open_run(path)
        usable = np.flatnonzero(np.isfinite(run.embeddings[:, 0]) & run.columns("label")["label"].notna().to_numpy(bool))
        random = np.random.default_rng(0)
        shuffled = random.permutation(usable)[:MOST_ROWS]
        few = max(len(shuffled) // 100, 1)
        base = np.sort(shuffled[few:])
        versions = {
            "1 added": shuffled[few - 1 :],
            "1 removed": shuffled[few + 1 :],
            "1% added": shuffled,
            "1% removed": shuffled[2 * few :],
            "1% replaced": shuffled[:-few],
        }
        before, fold = judged(run, base, options.noise)
        rows_of_table = []
        for name, rows in versions.items():
            after, other = judged(run, np.sort(rows), options.noise)
            both = np.isfinite(before) & np.isfinite(after)
            reports = int((before[both] >= THRESHOLD).sum())
            changed = [changed_reports(before, after, margin) for margin in MARGINS]
            rows_of_table.append([reports, *changed])
            moved = float((fold[both] != other[both]).mean())
            print(f"{run.path.name:<12} {name:<12} {len(rows):>7,} {moved:>10.1%} {reports:>8,}   {changed}", flush=True)
        counts[run.path.name] = np.array(rows_of_table)
    print(f"\n{'left out':<12} {'margin of the others':>20} {'changes with it':>16} {f'with {hysteresis.MARGIN}':>10}")
    for left_out, own in counts.items():
        others = sum((table for name, table in counts.items() if name != left_out), np.zeros_like(own))
        fitting = [margin for at, margin in enumerate(MARGINS, 1) if (others[:, at] <= BAR * others[:, 0]).all()]
        chosen = fitting[0] if fitting else MARGINS[-1]
        shares = [own[:, 1 + MARGINS.index(margin)].sum() / max(own[:, 0].sum(), 1) for margin in (chosen, hysteresis.MARGIN)]
        print(f"{left_out:<12} {chosen:>20} {shares[0]:>16.1%} {shares[1]:>10.1%}")


if __name__ == "__main__":
    main()
