"""Fine-tuned folds on CIFAR-10N's aggregated labels, compared with small models on embeddings.

    python benchmarks/finetuning.py IMAGES RUN HUMAN_LABELS.csv [--number 25000] [--pixels 64] [--folds 1]

RUN is a scan of IMAGES with the embedded backbone; a file's stem is its ``index`` in the table. One fold is trained by default, and the average
precision is that of its held-out images, for both kinds of models; the time of all five is extrapolated from it. With ``--number N``, a random part
of the images is used, which makes both kinds worse.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from sklearn.metrics import average_precision_score

import audit
from audit.backbones import choose
from audit.predictions import finetune
from audit.predictions.out_of_sample import FOLDS, out_of_sample


def pixels_of(files: list[Path], side: int) -> npt.NDArray[np.uint8]:
    return np.stack([np.asarray(Image.open(file).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)) for file in files])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--number", type=int, default=25_000, help="images to use")
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--folds", type=int, default=1)
    parser.add_argument("--epochs", type=int, help="default: as in a scan")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    people, run = pd.read_csv(arguments.labels), audit.open_run(arguments.run)
    people = people.iloc[np.sort(np.random.default_rng(0).permutation(len(people))[: arguments.number])]
    names = run.columns("sample_id")["sample_id"]
    at = {int(Path(name).stem): row for row, name in enumerate(names) if name.startswith("train/")}
    rows = np.array([at[index] for index in people["index"]])
    codes = {name: code for code, name in enumerate(sorted(people["clean_label"].unique()))}
    given, truth = (people[column].map(codes).to_numpy(np.int32) for column in ("aggre_label", "clean_label"))
    count = len(rows)
    images = np.array([f"{number:032x}".encode() for number in range(count)])
    frozen = out_of_sample(run.embeddings[rows], given, np.arange(count), images=images)
    backbone = choose("embedded").backbone
    work = finetune.FineTuning(
        build=backbone.build,
        dimension=backbone.dimension,
        pixels=pixels_of([arguments.images / names[row] for row in rows], arguments.pixels),
        labels=given,
        groups=np.arange(count),
        usable=np.ones(count, bool),
        images=images,
        device=arguments.device,
    )
    print(f"{finetune.seconds_per_image(work, len(codes)) * 1000:.1f} ms per image and step, {arguments.threads} threads", flush=True)
    for fold in range(arguments.folds):
        held = np.flatnonzero(frozen.fold == fold)
        began, used = time.perf_counter(), time.process_time()
        epochs = arguments.epochs or finetune.epochs_of(count)
        network, agreements = finetune.train_fold(work, np.flatnonzero(frozen.fold != fold), np.arange(len(codes)), len(codes), epochs, fold)
        tuned = finetune.predict(network, work, held)
        wall, cpu = time.perf_counter() - began, time.process_time() - used
        print(f"fold {fold}: {wall / 60:.1f} min ({cpu / 60:.1f} CPU min), all {FOLDS}: {FOLDS * cpu / 60:.0f} CPU min; agreement {agreements}")
        before = frozen.probabilities[held]
        wrong = given[held] != truth[held]
        weight = finetune.best_mixture(tuned, before, given[held], np.arange(len(held)))
        mixture = weight * tuned + (1 - weight) * before
        for name, found in {"embeddings": before, "fine-tuned": tuned, f"mixture, weight {weight:.2f}": mixture}.items():
            doubt = 1 - found[np.arange(len(held)), given[held]]
            right = (found.argmax(1) == truth[held]).mean()
            print(f"| {name} | {average_precision_score(wrong, doubt):.3f} | {right:.3f} |", flush=True)


if __name__ == "__main__":
    main()
