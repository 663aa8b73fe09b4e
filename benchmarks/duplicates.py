"""Find test images of CIFAR-10 with a duplicate in train: imagenet-audit compared with raw cosine, imagehash and fastdup.

    python benchmarks/duplicates.py cifar10-dev cifar10-duplicates-dev.csv [--peers FOLDER] [--sheet sheet.png] [--field NAME=FOLDER:PAIRS.csv]

The first argument is a folder ``{train,test}/class/index.jpg``, the second a table ``test_index, train_index, verdict``. A test image whose pairs
were all judged *unsure* is left out. Average precision is printed three ways: with every test image outside the list counted as having no duplicate
(*list only*), among the judged test images (*judged*), and with ``duplicates_seen.csv`` added to the list, the verdicts by eye on the best 240 test
images outside it (*with seen*). ``--sheet`` draws the pairs kept beyond the list. Peers run in virtual environments below ``--peers``, each named
after its package.

``--field``, which may be repeated, adds a table of other fields: what a default scan keeps and states, by the verdicts of ``PAIRS.csv`` (sample_i,
sample_j, verdict: copy, same_scene, different), and the average precision of copies among the judged pairs beside raw cosine, the perceptual hash in
eight orientations, and SIFT alone (features that pass the ratio test and agree on an affine transformation, in the orientation with more of them).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from inputs import Field, field, images, photos_of, table
from sklearn.metrics import average_precision_score

import audit
from audit.images.local_features import LocalFeatures, local_features
from audit.images.measures import orientation_free_hashes
from audit.pairs.pairs import PairOptions, find_pairs
from audit.pairs.registration import register

Scores = dict[tuple[int, int], float]
"""(test index, train index) -> similarity, higher = more alike."""

SEEN = Path(__file__).with_name("duplicates_seen.csv")

FASTDUP = """
import sys
import fastdup
found = fastdup.create(input_dir=sys.argv[1], work_dir=sys.argv[2])
found.run(overwrite=True, print_summary=False, ccthreshold=0.9, threshold=0.5, nearest_neighbors_k=5)
found.similarity().to_csv(sys.argv[3])
"""

IMAGEHASH = """
import csv, sys
from pathlib import Path
import imagehash
import numpy as np
from PIL import Image
files = {part: sorted(Path(sys.argv[1], part).rglob("*.jpg")) for part in ("test", "train")}
codes = {part: np.array([np.packbits(imagehash.phash(Image.open(path)).hash) for path in files[part]]) for part in files}
with open(sys.argv[3], "w") as out:
    writer = csv.writer(out)
    writer.writerow(["filename_from", "filename_to", "distance"])
    for path, code in zip(files["test"], codes["test"]):
        far = np.bitwise_count(codes["train"] ^ code).sum(axis=1)
        for at in np.argsort(far, kind="stable")[:5]:
            writer.writerow([path, files["train"][at], 1 - far[at] / 64])
"""


def ours(run: audit.Run) -> tuple[Scores, Scores, Scores]:
    """Return the scores of all candidate pairs, of those kept by default, and the raw cosine of all neighbors."""
    tables = (run.samples, run.thumbnails, run.neighbors, run.similarities)
    everything = find_pairs(*tables, options=PairOptions(min_precision=1e-6, least_score=1e-6)).table
    names = [Path(sample_id) for sample_id in run.samples["sample_id"]]
    every, kept = (_across(names, table["i"], table["j"], table["score"]) for table in (everything, run.pairs))
    rows = np.repeat(np.arange(len(names)), run.neighbors.shape[1])
    return every, kept, _across(names, rows, run.neighbors.ravel(), run.similarities.ravel())


def _across(names: list[Path], first: object, second: object, score: object) -> Scores:
    found: Scores = {}
    for i, j, value in zip(first, second, score, strict=True):  # type: ignore[call-overload]
        one, other = names[i], names[j]
        parts = (one.parts[0], other.parts[0])
        if parts in (("test", "train"), ("train", "test")):
            key = (int(one.stem), int(other.stem)) if parts[0] == "test" else (int(other.stem), int(one.stem))
            found[key] = max(found.get(key, -1), float(value))
    return found


def peer(python: Path, script: str, folder: Path) -> tuple[Scores, float]:
    """Run a peer's script; return its pairs across the splits and the seconds it took."""
    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        subprocess.run([python, "-c", script, folder, f"{scratch}/work", f"{scratch}/pairs.csv"], check=True, capture_output=True)
        took = time.perf_counter() - began
        table = pd.read_csv(f"{scratch}/pairs.csv")
    sides = [[Path(*Path(name).parts[-3:]) for name in table[column]] for column in ("filename_from", "filename_to")]
    names = sides[0] + sides[1]
    return _across(names, range(len(table)), range(len(table), 2 * len(table)), table["distance"]), took


def precisions(scores: Scores, tests: list[int], judged: pd.DataFrame, seen: pd.DataFrame) -> tuple[float, float, float]:
    """Return average precision: list only, judged, with seen."""
    best: dict[int, float] = {}
    for (test, _), value in scores.items():
        best[test] = max(best.get(test, -1), value)

    def measure(verdicts: pd.DataFrame, among: set[int]) -> float:
        right = set(verdicts["test_index"][verdicts["verdict"] == "duplicate"])
        unsure = set(verdicts["test_index"][verdicts["verdict"] == "unsure"]) - right
        wanted = [test for test in tests if test in among and test not in unsure]
        return float(average_precision_score([test in right for test in wanted], [best.get(test, -1) for test in wanted]))

    return measure(judged, set(tests)), measure(judged, set(judged["test_index"])), measure(pd.concat([judged, seen]), set(tests))


def operating(kept: Scores, verdicts: Mapping[tuple[int, int], str]) -> str:
    """Return precision and recall of the pairs that have a verdict."""
    right = sum(verdict == "duplicate" for pair, verdict in verdicts.items() if pair in kept)
    wrong = sum(verdict == "different" for pair, verdict in verdicts.items() if pair in kept)
    possible = sum(verdict == "duplicate" for verdict in verdicts.values())
    return f"precision {right / max(right + wrong, 1):.3f} ({right} right, {wrong} wrong), recall {right / possible:.3f} of {possible}"


def of_field(one: Field, out: Path) -> str:
    """Scan a field; return a line of the table."""
    run = audit.scan(one.folder, out, options=audit.ScanOptions(backbone="embedded", offline=True, only=("near_duplicates",)))
    names = run.samples["sample_id"].tolist()
    at = {name: row for row, name in enumerate(names)}
    judged = pd.read_csv(one.verdicts)
    judged = judged[judged["sample_i"].isin(names) & judged["sample_j"].isin(names) & (judged["verdict"] != "unsure")]
    verdicts = {tuple(sorted((at[i], at[j]))): verdict for i, j, verdict in judged[["sample_i", "sample_j", "verdict"]].itertuples(index=False)}
    kept = {pair[:2]: pair[2:] for pair in run.pairs[["i", "j", "relation", "score"]].itertuples(index=False, name=None)}
    said = {}
    for group, scene in (("copies", False), ("other shots", True)):
        found = [verdicts.get(pair, "not judged") for pair, (relation, _) in kept.items() if (relation == "same_scene") == scene]
        said[group] = ", ".join(f"{count} {verdict}" for verdict, count in pd.Series(found).value_counts().items()) or "none"
    true = [pair for pair, verdict in verdicts.items() if verdict == "copy"]
    recalled = sum(pair in kept and kept[pair][0] != "same_scene" for pair in true)
    facts = run.record["stages"]["pairs"]
    stated = "none"
    if facts["expected_precision"] is not None:
        stated = f"{facts['expected_precision']:.3f} ({facts['interval'][0]:.2f} to {facts['interval'][1]:.2f})"
    pairs = np.array(list(verdicts))
    hashes = orientation_free_hashes(run.thumbnails)
    embeddings = np.asarray(run.embeddings, np.float32)
    scores = {
        "ours": [_rank(kept.get(pair)) for pair in verdicts],
        "cosine": np.einsum("md,md->m", embeddings[pairs[:, 0]], embeddings[pairs[:, 1]]),
        "hash": -np.bitwise_count(hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]]).astype(float),
        "SIFT": [_inliers(*(local_features(one.pixels(names[row])) for row in pair)) for pair in verdicts],
    }
    right = [verdict == "copy" for verdict in verdicts.values()]
    precision = " | ".join(f"{average_precision_score(right, score):.2f}" if any(right) else "" for score in scores.values())
    return f"| {one.name} | {stated} | {said['copies']} | {said['other shots']} | {recalled} of {len(true)} | {precision} |"


def _inliers(first: LocalFeatures, second: LocalFeatures) -> int:
    """Return the features that agree, upright or mirrored."""
    both = (register(first, second, mirrored=mirrored) for mirrored in (False, True))
    return max(found.inliers if found else 0 for found in both)


def _rank(found: tuple[str, float] | None) -> float:
    """Return a score that ranks copies before other shots before pairs that are not kept."""
    return 0.0 if found is None else found[1] + (found[0] != "same_scene")


def sheet(folder: Path, pairs: list[tuple[int, int]], path: Path) -> None:
    """Draw pairs side by side, ten to a row."""
    from PIL import Image

    files = {(file.parts[-3], int(file.stem)): file for file in folder.rglob("*.jpg")}
    drawn = Image.new("RGB", (10 * 140, max(-(-len(pairs) // 10), 1) * 70), "white")
    for at, (test, train) in enumerate(pairs):
        for side, key in enumerate((("test", test), ("train", train))):
            drawn.paste(Image.open(files[key]).resize((64, 64)), (at % 10 * 140 + side * 66, at // 10 * 70))
    drawn.save(path)


def numbered(folder: Path, parser: argparse.ArgumentParser) -> list[int]:
    """Return the numbers of the test images; exits with an error if a file of either split is not named by its number."""
    for part in ("test", "train"):
        if invalid := next((path for path in photos_of(folder / part) if not (path.suffix == ".jpg" and path.stem.isdecimal())), None):
            parser.error(f"{invalid}: not named by its number in the dataset, such as 12.jpg")
    return sorted(int(path.stem) for path in photos_of(folder / "test"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=images("test", "train"))
    parser.add_argument("verdicts", type=table("test_index", "train_index", "verdict"))
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--run", type=Path, help="folder to keep the run in; a temporary folder by default")
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--field", type=field, action="append", default=[], metavar="NAME=FOLDER:PAIRS.csv")
    arguments = parser.parse_args()
    judged, seen = pd.read_csv(arguments.verdicts), pd.read_csv(SEEN)
    tests = numbered(arguments.images, parser)
    if not {*tests} & {*judged["test_index"][judged["verdict"] == "duplicate"]}:
        parser.error(f"{arguments.verdicts}: no test image of {arguments.images} has a pair with verdict 'duplicate'")
    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        options = audit.ScanOptions(backbone="embedded", offline=True, only=("leakage",))
        run = audit.scan(arguments.images, arguments.run or Path(scratch) / "run", options=options)
        took = time.perf_counter() - began
        every, kept, cosine = ours(run)
    results = {"ours": (every, took), "raw cosine, same backbone": (cosine, np.nan)}
    for name, script in (("imagehash", IMAGEHASH), ("fastdup", FASTDUP)):
        python = arguments.peers / name / "bin" / "python" if arguments.peers else None
        if python and python.exists():
            results[name] = peer(python, script, arguments.images)
    print("| what | AP, list only | AP, judged | AP, with seen | pairs in its list | seconds |\n|---|---|---|---|---|---|")
    true = {(row.test_index, row.train_index) for row in judged.itertuples() if row.verdict == "duplicate"}
    for name, (scores, seconds) in results.items():
        figures = " | ".join(f"{value:.3f}" for value in precisions(scores, tests, judged, seen))
        print(f"| {name} | {figures} | {len(true & scores.keys()) / len(true):.3f} | {seconds:.0f} |")
    known = {(row.test_index, row.train_index): row.verdict for row in judged.itertuples()}
    by_eye = {(row.test_index, row.train_index): row.verdict for row in seen.itertuples()}
    print(f"\nAt the default operating point, judged pairs: {operating(kept, known)}")
    print(f"With those seen by eye: {operating(kept, known | by_eye)}")
    beyond = sorted((pair for pair in kept if pair not in known), key=lambda pair: -kept[pair])
    counts = pd.Series([by_eye.get(pair, "not looked at") for pair in beyond]).value_counts().to_dict()
    print(f"Kept beyond the list: {len(beyond)}; by eye: {json.dumps(counts)}")
    facts = run.record["stages"]["pairs"]
    print(f"Expected precision {facts['expected_precision']}, 95% interval {facts['interval']}, from score {facts['least_score']:.3f}")
    if arguments.sheet:
        sheet(arguments.images, beyond, arguments.sheet)
    if arguments.field:
        kept_as = "field | expected precision | kept as copies | kept as other shots | judged copies found"
        print(f"\n| {kept_as} | AP of copies: ours | cosine | hash | SIFT |")
        print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for one in arguments.field:
            print(of_field(one, Path(scratch) / one.name), flush=True)


if __name__ == "__main__":
    main()
