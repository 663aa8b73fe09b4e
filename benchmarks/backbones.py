"""Compare the embedded backbones, in every precision of this CPU, on every field: what the embeddings show, against their cost.

    python benchmarks/backbones.py DATA VERDICTS [--variant NAME:PRECISION ...] [--cache FOLDER]

DATA has one folder per field, as unpacked (``clothing``, ``signs``, ``xray``, ``cifar10-dev``, ``tiny-imagenet-dev``); VERDICTS has the tables of
judgments. Large fields are sampled. Speed is images a second of CPU time on one thread, which other processes on the machine change little.

- *cosine*: median and first percentile of the cosines to the same embedding in float32.
- *labels*: average precision on CIFAR-10N's aggregated labels; on clothing, among the judged labels, *wrong* against *right* (mean of two seeds); on
  signs, the places of the two wrong labels.
- *planted*: average precision of finding 5% of the labels changed to a random class, and to the class that the image is most easily taken for.
- *20 nearest*: share of the 20 nearest neighbors with the label of the image.
- *outliers*: average precision of finding two planted images of each other field, the mean of ten draws.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from label_errors import average_precision
from label_sets import plant

from audit.backbones import choose
from audit.backbones.placement import place, timings
from audit.backbones.runtime import prepare
from audit.checks.outliers import Options, kth_distance, robust_z
from audit.images.decode import decode
from audit.labels.quality import judge_labels
from audit.neighbors.search import search
from audit.predictions.out_of_sample import out_of_sample
from audit.tables import PAIRS

FIELDS = {"clothing": "clothing", "signs": "signs", "xray": "xray", "tiny": "tiny-imagenet-dev/train", "cifar": "cifar10-dev/train"}
MOST = {"tiny": 2_000, "cifar": 4_000}
VARIANTS = ("embedded-small:float32", "embedded-small:int8", "embedded:float32", "embedded:int8")
PLANTED, DRAWS, BATCH = 2, 10, 64

Embeddings = npt.NDArray[np.float16]
Codes = npt.NDArray[np.int64]


def files_of(folder: Path, most: int | None) -> list[Path]:
    found = sorted(path for path in folder.glob("*/*") if path.is_file())
    return found if most is None else sorted(np.random.default_rng(1).permutation(np.array(found, object))[:most])


def embed(files: Sequence[Path], name: str, precision: str) -> Embeddings:
    backbone = choose(name, offline=True).backbone
    model: Any = prepare(backbone, place(backbone, device="cpu", precision=precision, note=print), print)
    embedder = model.open(1)

    def prepared(file: Path) -> npt.NDArray[np.uint8]:
        image = decode(file.read_bytes()).image
        assert image is not None, file
        return backbone.preprocessing.prepare(image)

    parts = [embedder.embed(np.stack([prepared(file) for file in files[start : start + BATCH]])) for start in range(0, len(files), BATCH)]
    vectors = np.concatenate(parts)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float16)


def cached(cache: Path | None, key: str, files: Sequence[Path], variant: str) -> Embeddings:
    path = None if cache is None else cache / f"{key}-{variant.replace(':', '-')}.npy"
    if path is not None and path.is_file():
        return np.load(path)
    found = embed(files, *variant.split(":"))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, found)
    return found


def scores(embeddings: Embeddings, labels: Codes, seed: int = 0) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Return the score of every label, as a scan computes it, and the predictions."""
    found = out_of_sample(embeddings, labels.astype(np.int32), np.arange(len(labels)), seed=seed).probabilities
    return judge_labels(found, labels)["score"].fillna(0).to_numpy(float), found


def natural(field: str, files: Sequence[Path], embeddings: Embeddings, labels: Codes, verdicts: Path) -> str:
    if field == "cifar":
        people = pd.read_csv(verdicts / "cifar10-human-labels-dev.csv", index_col="index").loc[[int(file.stem) for file in files]]
        codes = {name: code for code, name in enumerate(sorted(people["clean_label"].unique()))}
        score, _ = scores(embeddings, people["aggre_label"].map(codes).to_numpy(np.int64))
        return f"{average_precision((people['aggre_label'] != people['clean_label']).to_numpy(), score):.3f}"
    if not (verdicts / f"{field}-labels-dev.csv").is_file():
        return ""
    judged = pd.read_csv(verdicts / f"{field}-labels-dev.csv")
    row = judged["sample"].map({f"{file.parent.name}/{file.name}": at for at, file in enumerate(files)}).to_numpy(int)
    wrong, sure = (judged["verdict"] == "wrong").to_numpy(), judged["verdict"].isin(["wrong", "right"]).to_numpy()
    every = [scores(embeddings, labels, seed)[0] for seed in (0, 1)]
    if field == "signs":
        return ", ".join(str(at) for at in sorted(np.argsort(np.argsort(-every[0], kind="stable"))[row[wrong]] + 1))
    return f"{np.mean([average_precision(wrong[sure], score[row[sure]]) for score in every]):.3f}"


def planted(embeddings: Embeddings, labels: Codes, reference: npt.NDArray[np.float32]) -> Iterator[float]:
    """Yield the average precision of finding each kind of planted error. The most similar classes are those of one reference, for all variants."""
    for kind in ("random", "confusable"):
        given = plant(labels, reference, kind, 0.05, seed=0)
        yield average_precision(given != labels, scores(embeddings, given)[0])


def neighbors(embeddings: Embeddings, labels: Codes) -> float:
    near = search(embeddings, k=20, seed=0).indices
    return float((labels[near] == labels[:, None])[near >= 0].mean())


def outliers(own: Embeddings, others: Sequence[Embeddings]) -> float:
    found = []
    for draw in range(DRAWS):
        random = np.random.default_rng(draw)
        parts = [own[random.permutation(len(own))[:2_000]], *(other[random.permutation(len(other))[:PLANTED]] for other in others)]
        together = np.concatenate(parts)
        nearest = search(together, k=20, seed=0)
        distance, _ = kth_distance(nearest.indices, nearest.similarities, PAIRS.empty_table().to_pandas(), Options().neighbor)
        found.append(average_precision(np.arange(len(together)) >= len(parts[0]), robust_z(distance, 0.02)[0]))
    return float(np.mean(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("verdicts", type=Path)
    parser.add_argument("--variant", nargs="+", default=VARIANTS)
    parser.add_argument("--cache", type=Path)
    arguments = parser.parse_args()
    files = {field: files_of(arguments.data / folder, MOST.get(field)) for field, folder in FIELDS.items()}
    labels = {field: np.unique([file.parent.name for file in found], return_inverse=True)[1].astype(np.int64) for field, found in files.items()}
    vectors = {one: {field: cached(arguments.cache, field, found, one) for field, found in files.items()} for one in arguments.variant}
    references = {field: scores(vectors[arguments.variant[0]][field], labels[field], seed=5)[1] for field in files}
    speeds = {
        f"{name}:{timing.precision}": timing.images_per_second
        for name in {variant.partition(":")[0] for variant in arguments.variant}
        for timing in timings(choose(name, offline=True).backbone, print)
    }
    print("| backbone, precision | images/s a core | measure | " + " | ".join(FIELDS) + " |\n|---|---|---|" + "---|" * len(FIELDS))
    for variant, found in vectors.items():
        exact = vectors.get(f"{variant.partition(':')[0]}:float32")
        rows: dict[str, list[str]] = {name: [] for name in ("cosine", "labels", "planted", "20 nearest", "outliers")}
        for field, embeddings in found.items():
            if exact is not None and not variant.endswith("float32"):
                cosine = (embeddings.astype(np.float32) * exact[field].astype(np.float32)).sum(1)
                rows["cosine"].append(f"{np.median(cosine):.3f}, {np.quantile(cosine, 0.01):.3f}")
            rows["labels"].append(natural(field, files[field], embeddings, labels[field], arguments.verdicts))
            rows["planted"].append(", ".join(f"{value:.3f}" for value in planted(embeddings, labels[field], references[field])))
            rows["20 nearest"].append(f"{neighbors(embeddings, labels[field]):.3f}")
            rows["outliers"].append(f"{outliers(embeddings, [other for name, other in found.items() if name != field]):.3f}")
        begin = f"| `{variant.partition(':')[0]}`, {variant.partition(':')[2]} | {speeds.get(variant, 0):.0f}"
        for name, values in rows.items():
            if values:
                print(f"{begin} | {name} | {' | '.join(values)} |", flush=True)
                begin = "| | "


if __name__ == "__main__":
    main()
