"""Compare with all peers that can be installed, as Markdown tables: speed, duplicates, label errors, shortcuts.

    python benchmarks/peers.py --photos imagenet-photos-dev --cifar cifar10-dev --verdicts cifar10-duplicates-dev.csv \
        --labels cifar10-human-labels-dev.csv --class-folders tiny-imagenet-dev/train --cache ~/.cache/audit-peers \
        [--parts photos,small,duplicates,labels,spurious]

Peers are installed on first use, in the versions listed in `scan_speed.py`, into separate virtual environments below ``--cache``; one that cannot be
installed is reported and skipped. Ratios are ours divided by the peer's, from one run on one machine: for seconds, below 1 is faster; for average
precision, above 1 is better.

``--photos`` is a folder of full-size photos, ``--cifar`` one of ``{train,test}/class/index.jpg``, ``--verdicts`` and ``--labels`` are tables for
`duplicates.py` and `label_errors.py`, ``--class-folders`` is a folder of class folders for a small run of `spurious.py`. Asserts nothing about time.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duplicates
import label_errors
import numpy as np
import numpy.typing as npt
import pandas as pd
import spurious
from scan_speed import CLEANVISION, FASTDUP, gather, peer, scan, seconds, versioned

import audit
from audit.processes import available_cpus

Array = npt.NDArray[Any]

IMGEDA = """
import subprocess, sys
from pathlib import Path
tool, made = Path(sys.executable).with_name("imgeda"), f"{sys.argv[2]}.jsonl"
subprocess.run([tool, "scan", sys.argv[1], "--output", made], check=True, capture_output=True)
subprocess.run([tool, "check", "all", "--manifest", made], check=True, capture_output=True)
"""

IMAGEDEDUP = """
import csv, sys
from imagededup.methods import PHash
found = PHash().find_duplicates(image_dir=sys.argv[1], max_distance_threshold=10, scores=True, recursive=True)
if len(sys.argv) > 3:
    with open(sys.argv[3], "w") as out:
        writer = csv.writer(out)
        writer.writerow(["filename_from", "filename_to", "distance"])
        writer.writerows([f"{sys.argv[1]}/{one}", f"{sys.argv[1]}/{other}", 1 - far / 64] for one, near in found.items() for other, far in near)
"""

DATALAB = """
import sys
import numpy as np
from cleanlab import Datalab
given = np.load(sys.argv[2])
lab = Datalab({"y": given}, label_name="y", verbosity=0)
lab.find_issues(features=np.load(sys.argv[1]).astype(np.float32), issue_types={"label": {}})
np.save(sys.argv[3], 1 - lab.get_issues("label")["label_score"].to_numpy())
"""

TOOLS = {
    "cleanvision": ("cleanvision", CLEANVISION, "quality, hash duplicates"),
    "imgeda": ("imgeda", IMGEDA, "quality, hash duplicates"),
    "imagededup": ("imagededup", IMAGEDEDUP, "hash duplicates only"),
    "fastdup": ("fastdup", FASTDUP, "duplicates, outliers, quality"),
}
"""Name -> package, script (images, scratch), what it finds."""


def speed(images: Path, scratch: Path, cache: Path) -> None:
    """Time whole tools on the same images, process start included."""
    count = sum(1 for path in images.rglob("*") if path.is_file())
    took, _ = scan(images, scratch / "run")
    print(f"\n## Seconds for {count:,} images, {available_cpus()} cores\n")
    print("| tool | what it finds | seconds | images/s | imagenet-audit / tool |\n|---|---|---|---|---|")
    print(f"| imagenet-audit | all of its checks, labels included | {took:.1f} | {count / took:.0f} | 1.00 |", flush=True)
    for name, (package, script, finds) in TOOLS.items():
        python = peer(cache, package)
        theirs = float("nan")
        if python:
            theirs = seconds([python, "-c", script, images, scratch / name])
        figures = f"{theirs:.1f} | {count / theirs:.0f} | {took / theirs:.2f}" if python else "cannot be installed | |"
        print(f"| {versioned(package)} | {finds} | {figures} |", flush=True)


def duplicate_images(run: audit.Run, took: float, cifar: Path, verdicts: Path, cache: Path) -> None:
    """Print how well each tool finds the test images with a duplicate in train."""
    judged, seen = pd.read_csv(verdicts), pd.read_csv(duplicates.SEEN)
    tests = sorted(int(path.stem) for path in (cifar / "test").rglob("*.jpg"))
    every, _, cosine = duplicates.ours(run)
    found = {"imagenet-audit (whole scan)": (every, took), "raw cosine, same backbone (SelfClean's rule)": (cosine, float("nan"))}
    for name, package, script in (
        (versioned("fastdup"), "fastdup", duplicates.FASTDUP),
        (f"{versioned('imagehash')}, 5 nearest", "imagehash", duplicates.IMAGEHASH),
        (f"{versioned('imagededup')}, PHash", "imagededup", IMAGEDEDUP),
    ):
        python = peer(cache, package)
        if python:
            found[name] = duplicates.peer(python, script, cifar)
    print(f"\n## Test images with a duplicate in train: {len(tests):,} of CIFAR-10's, average precision\n")
    print("| tool | list only | judged | list and seen | imagenet-audit / tool | seconds |\n|---|---|---|---|---|---|")
    mine = duplicates.precisions(every, tests, judged, seen)[2]
    for name, (scores, spent) in found.items():
        figures = duplicates.precisions(scores, tests, judged, seen)
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in figures)} | {mine / figures[2]:.2f} | {spent:.0f} |", flush=True)


def ours(embeddings: Array, given: Array) -> tuple[Array, Array]:
    """Return the score and the stated probability of every label."""
    predictions = label_errors.out_of_sample(embeddings, given.astype(np.int32), np.arange(len(given)), seed=0).probabilities
    table = label_errors.judge_labels(predictions, given)
    return table["score"].to_numpy(), table["probability_wrong"].to_numpy()


def cleanlab_logistic(embeddings: Array, given: Array) -> dict[str, Array]:
    """Return cleanlab's scores on logistic regression."""
    return label_errors.cleanlab(label_errors.logistic(embeddings, given), given)


def neighbors_of(embeddings: Array, k: int = 10) -> Array:
    import faiss

    rows = np.ascontiguousarray(embeddings, dtype=np.float32)
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    return index.search(rows, k + 1)[1][:, 1:]


def fastdup_rule(neighbors: Array, given: Array) -> Array:
    """Return the share of the nearest neighbors with another label."""
    return (given[neighbors] != given[:, None]).mean(1)


def selfclean_rule(embeddings: Array, given: Array) -> Array:
    """Compare the distance to the nearest image of the same class with that of another class (Groeger et al. 2023)."""
    rows = embeddings.astype(np.float32)
    score = np.empty(len(rows))
    for start in range(0, len(rows), 2000):
        distance = 1 - rows[start : start + 2000] @ rows.T
        distance[np.arange(len(distance)), np.arange(start, start + len(distance))] = np.inf
        same = given[start : start + 2000, None] == given[None]
        intra, extra = np.where(same, distance, np.inf).min(1), np.where(same, np.inf, distance).min(1)
        score[start : start + 2000] = intra**2 / (intra**2 + extra**2 + 1e-12)
    return score


def row(name: str, score: Array, wrong: Array, seconds: float, probability: Array | None = None) -> float:
    from sklearn.metrics import average_precision_score

    order = np.argsort(-score, kind="stable")
    at = [wrong[order[: round(len(order) * share)]].mean() for share in (0.01, 0.05)]
    error = "" if probability is None else f"{label_errors.expected_calibration_error(probability, wrong):.3f}"
    average = average_precision_score(wrong, score)
    print(f"| {name:38} | {average:.3f} | {at[0]:.3f} | {at[1]:.3f} | {error:5} | {seconds:6.1f} |", flush=True)
    return average


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    began = time.perf_counter()
    found = function(*arguments)
    return found, time.perf_counter() - began


def wrong_labels(embeddings: npt.NDArray[np.float16], codes: dict[str, npt.NDArray[np.int64]], cache: Path, scratch: Path) -> None:
    """Print how well each rule ranks the labels that people found wrong, all on the same embeddings."""
    python = peer(cache, "cleanlab[datalab]")
    for name in ("aggre_label", "random_label1"):
        given, wrong = codes[name], codes[name] != codes["clean_label"]
        print(f"\n## Wrong labels: {len(given):,} images of CIFAR-10N, {name}, {wrong.mean():.1%} wrong\n")
        print("| method | AP | precision at 1% | at 5% | ECE | seconds |\n|---|---|---|---|---|---|")
        (score, probability), took = timed(ours, embeddings, given)
        mine = row("imagenet-audit", score, wrong, took, probability)
        theirs, spent = timed(cleanlab_logistic, embeddings, given)
        peers = {f"cleanlab, logistic regression, {rule}": row(f"cleanlab, {rule}", found, wrong, spent) for rule, found in theirs.items()}
        if python:
            np.save(scratch / "features.npy", embeddings)
            np.save(scratch / "given.npy", given)
            began = time.perf_counter()
            command = [python, "-c", DATALAB, *(scratch / part for part in ("features.npy", "given.npy", "scores.npy"))]
            subprocess.run(command, check=True, capture_output=True)
            datalab = np.load(scratch / "scores.npy")
            peers["Datalab"] = row(f"{versioned('cleanlab')} Datalab, features", datalab, wrong, time.perf_counter() - began)
        near, spent = timed(neighbors_of, embeddings)
        peers["fastdup"] = row("neighbor vote (fastdup's rule)", fastdup_rule(near, given), wrong, spent)
        found, spent = timed(selfclean_rule, embeddings, given)
        peers["SelfClean"] = row("nearest same / other (SelfClean's rule)", found, wrong, spent)
        best = max(peers, key=lambda rule: peers[rule])
        print(f"\nimagenet-audit / best peer ({best}): {mine / peers[best]:.2f}")


def cifar_tables(arguments: argparse.Namespace, parts: set[str], scratch: Path) -> None:
    began = time.perf_counter()
    run = audit.scan(arguments.cifar, scratch / "run-cifar", options=audit.ScanOptions(backbone="embedded", offline=True))
    took = time.perf_counter() - began
    if "duplicates" in parts:
        duplicate_images(run, took, arguments.cifar, arguments.verdicts, arguments.cache)
    if "labels" in parts:
        human = pd.read_csv(arguments.labels).set_index("index")
        ids = run.samples["sample_id"]
        train = np.flatnonzero(ids.str.startswith("train/").to_numpy())
        index = ids.iloc[train].str.rsplit("/", n=1).str[-1].str.split(".").str[0].astype(int).to_numpy()
        names = sorted(human["clean_label"].unique())
        codes = {name: human.loc[index, name].map({label: code for code, label in enumerate(names)}).to_numpy() for name in human.columns}
        wrong_labels(np.asarray(run.embeddings[train]), codes, arguments.cache, scratch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("photos", "cifar", "verdicts", "labels", "class-folders"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--cache", type=Path, required=True, help="folder for the peers' virtual environments")
    parser.add_argument("--parts", default="photos,small,duplicates,labels,spurious")
    parser.add_argument("--count", type=int, default=1000, help="number of photos; copied if there are fewer")
    parser.add_argument("--small-count", type=int, default=5000)
    parser.add_argument("--classes", type=int, default=5, help="classes of the shortcuts' datasets, of 50 images each")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of the shortcuts' datasets")
    arguments = parser.parse_args()
    needed = {
        "photos": ["photos"],
        "small": ["cifar"],
        "duplicates": ["cifar", "verdicts"],
        "labels": ["cifar", "labels"],
        "spurious": ["class-folders"],
    }
    parts = set(arguments.parts.split(","))
    if unknown := parts - set(needed):
        parser.error(f"unknown part {', '.join(sorted(unknown))}; parts are {', '.join(needed)}")
    for name in sorted({option for part in parts for option in needed[part]}):
        given = getattr(arguments, name.replace("-", "_"))
        if given is None or not given.exists():
            parser.error(f"--{name}: {given or 'not given'}; parts {', '.join(sorted(parts))} need it")
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for part, source, count in (("photos", arguments.photos, arguments.count), ("small", arguments.cifar, arguments.small_count)):
            if part in parts:
                gather(source / "train" if part == "small" else source, scratch / part, count)
                (scratch / f"of-{part}").mkdir()
                speed(scratch / part, scratch / f"of-{part}", arguments.cache)
        if {"duplicates", "labels"} & parts:
            cifar_tables(arguments, parts, scratch)
    if "spurious" in parts:
        sizes = f"{arguments.classes} classes and 2, seeds: {arguments.seeds}"
        print(f"\n## Shortcuts planted in one class: imagenet-audit and {versioned('cleanlab')}; {sizes}\n")
        spurious.beside(arguments.class_folders, arguments.cache, arguments.classes, 50, arguments.seeds)


if __name__ == "__main__":
    sys.exit(main())
