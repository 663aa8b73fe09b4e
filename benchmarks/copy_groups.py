"""Test groups of copies, as in the UKBench test: imagenet-audit compared with raw cosine, a hash, SIFT alone, imagededup and fastdup.

    python benchmarks/copy_groups.py NAME=FOLDER ... [--photos 40] [--peers FOLDER]

Of each of some images, a group is made: the image, a crop, both mirrors, a turn by 25 degrees and a squash. Every pair of a group is a pair of
copies, every other pair is wrong: use fields whose images show different things. Prints, for each field and overall, the recall of pairs at the
lowest score at which precision is still 0.99, and for imagenet-audit at its default operating point. Peers run in virtual environments below
``--peers``, each named after its package.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from edits import EDITS, same
from inputs import Field, field, photos_of
from PIL import Image

import audit
from audit.images.local_features import local_features
from audit.images.measures import orientation_free_hashes
from audit.pairs.registration import register
from audit.processes import available_cpus

Scores = Mapping[tuple[str, str], float]
"""Names of two files, sorted -> similarity; pairs that are missing are the least similar."""

GROUP = ("centre crop to 80%", "mirror", "upside down", "25° rotation", "squash by 20%")
LEAST_PRECISION = 0.99

PEERS = {
    "imagededup": """
import sys
from imagededup.methods import PHash
found = PHash(verbose=False).find_duplicates(image_dir=sys.argv[1], max_distance_threshold=20, scores=True)
with open(sys.argv[3], "w") as out:
    print("from,to,score", file=out)
    for name, others in found.items():
        for other, distance in others:
            print(f"{name},{other},{-distance}", file=out)
""",
    "fastdup": """
import sys
import fastdup
found = fastdup.create(input_dir=sys.argv[1], work_dir=sys.argv[2])
found.run(overwrite=True, print_summary=False, ccthreshold=0.9, threshold=0.5, nearest_neighbors_k=10)
table = found.similarity()[["filename_from", "filename_to", "distance"]]
table.columns = ["from", "to", "score"]
table.to_csv(sys.argv[3], index=False)
""",
}


def write(one: Field, photos: int, folder: Path) -> None:
    """Write the groups; a file is named by its photo and its number in the group."""
    names = [str(path.relative_to(one.folder)) for path in photos_of(one.folder)]
    folder.mkdir(parents=True)
    for number, name in enumerate(random.Random(0).sample(names, min(photos, len(names)))):
        image = Image.fromarray(one.pixels(name))
        for member, change in enumerate((same, *(EDITS[edit].change for edit in GROUP))):
            change(image).save(folder / f"{number:04}-{member}.jpg", quality=92)


def sift(folder: Path, names: list[str]) -> Scores:
    """Return the inliers of each pair, of the image or its mirror image, whichever has more."""
    with ThreadPoolExecutor(available_cpus()) as threads:  # OpenCV releases the GIL
        found = dict(zip(names, threads.map(lambda name: local_features(np.asarray(Image.open(folder / name))), names), strict=True))

        def inliers(pair: tuple[str, str]) -> float:
            both = (register(found[pair[0]], found[pair[1]], mirrored=mirrored) for mirrored in (False, True))
            return float(max(one.inliers if one else 0 for one in both))

        pairs = list(combinations(names, 2))
        return dict(zip(pairs, threads.map(inliers, pairs), strict=True))


def peer(python: Path, script: str, folder: Path) -> Scores:
    """Run a peer's script and return its pairs."""
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([python, "-c", script, folder, f"{scratch}/work", f"{scratch}/pairs.csv"], check=True, capture_output=True)
        table = pd.read_csv(f"{scratch}/pairs.csv")
    found: dict[tuple[str, str], float] = {}
    for one, other, score in table.itertuples(index=False):
        low, high = sorted((Path(one).name, Path(other).name))
        found[low, high] = max(found.get((low, high), -np.inf), score)
    return found


def methods(folder: Path, run: Path, peers: Path | None) -> tuple[dict[str, Scores], list[str]]:
    """Return the scores of each method, and the names of the files."""
    options = audit.ScanOptions(backbone="embedded", offline=True, only=("near_duplicates",))
    scanned = audit.scan(folder, run, options=options)
    names = [Path(sample_id).name for sample_id in scanned.samples["sample_id"]]
    kept = scanned.pairs[scanned.pairs["relation"] != "same_scene"]
    first, second = np.triu_indices(len(names), 1)
    pairs = [tuple(sorted((names[i], names[j]))) for i, j in zip(first.tolist(), second.tolist(), strict=True)]
    embeddings, hashes = np.asarray(scanned.embeddings, np.float32), orientation_free_hashes(scanned.thumbnails)
    cosines = (embeddings @ embeddings.T)[first, second].tolist()
    apart = np.bitwise_count(hashes[first] ^ hashes[second]).astype(float)
    found: dict[str, Scores] = {
        "imagenet-audit": {tuple(sorted((names[i], names[j]))): score for i, j, score in kept[["i", "j", "score"]].itertuples(index=False)},
        "raw cosine": dict(zip(pairs, cosines, strict=True)),
        "hash in eight orientations": dict(zip(pairs, (-apart).tolist(), strict=True)),
        "SIFT alone": sift(folder, sorted(names)),
    }
    for name, script in PEERS.items():
        python = peers / name / "bin" / "python" if peers else None
        if python and python.exists():
            found[name] = peer(python, script, folder)
    return found, names


def measure(scores: Scores, possible: int) -> tuple[float, float, float]:
    """Return recall at a precision of 0.99, and precision and recall of all pairs in the list."""
    table = pd.DataFrame({"score": list(scores.values()), "right": [one[:4] == other[:4] for one, other in scores]})
    counts = table.groupby("score")["right"].agg(["sum", "size"]).sort_index(ascending=False).cumsum()
    good = counts["sum"][counts["sum"] / counts["size"] >= LEAST_PRECISION]
    return float(good.max() if len(good) else 0) / possible, float(table["right"].mean()) if len(table) else 1.0, table["right"].sum() / possible


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fields", nargs="+", type=field, metavar="NAME=FOLDER")
    parser.add_argument("--photos", type=int, default=40, help="groups of each field")
    parser.add_argument("--peers", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    print("| field | method | recall at precision 0.99 | default: precision | recall |\n|---|---|---|---|---|")
    every: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for one in arguments.fields:
            folder = Path(scratch) / one.name
            write(one, arguments.photos, folder)
            found, names = methods(folder, Path(scratch) / f"{one.name}-run", arguments.peers)
            possible = len(names) * len(GROUP) // 2
            for name, scores in found.items():
                recall, precision, all_recall = measure(scores, possible)
                every.setdefault(name, []).append(recall)
                default = f"{precision:.3f} | {all_recall:.3f}" if name == "imagenet-audit" else " | "
                print(f"| {one.name} | {name} | {recall:.3f} | {default} |", flush=True)
    for name, recalls in every.items():
        print(f"| **all** | {name} | {np.mean(recalls):.3f} | | |")
    print(f"\n{len(GROUP) + 1} images to a group: the image, {', '.join(GROUP)}", file=sys.stderr)


if __name__ == "__main__":
    main()
