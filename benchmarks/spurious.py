"""Plant shortcuts in files, and compare the checks ``shortcuts`` and ``marks`` with cleanlab's spurious-correlation score.

    python benchmarks/spurious.py tiny-imagenet-dev/train --cache ~/.cache/audit-peers [--classes 20 --images 50 --seeds 5]

The folder contains one folder per class. Each seed samples classes and images and shuffles their labels, so only planted effects give a class away.
All copies are encoded alike (JPEG of quality 95); one effect is planted on a share of one class. Both tools read the files: ours in a whole scan,
cleanlab in Datalab with its image properties and default threshold, once as released and once with the baseline that its docstring documents (the
accuracy of always predicting the commonest label; the released code divides that label's index by the number of images). cleanlab scores a property
over the whole dataset, so it does best with only two classes. It runs in a separate environment below ``--cache``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from inputs import images
from PIL import Image, ImageEnhance, ImageFilter
from scan_speed import peer

import audit
from audit.statistics.properties import properties
from audit.statistics.separability import separability
from audit.statistics.split_half import class_halves

CLEANLAB = """
import json, sys
import numpy as np
from cleanlab import Datalab
from cleanlab.datalab.internal.adapter.constants import DEFAULT_CLEANVISION_ISSUES
from cleanlab.datalab.internal.adapter.imagelab import handle_spurious_correlations
from cleanlab.datalab.internal.spurious_correlation import SpuriousCorrelations
from datasets import Dataset, Image, disable_progress_bars
disable_progress_bars()
released, results = SpuriousCorrelations._get_baseline, []
for paths, labels in json.load(open(sys.argv[1])):
    images = Dataset.from_dict({"image": paths, "label": labels}).cast_column("image", Image())
    lab = Datalab(images, label_name="label", image_key="image", verbosity=0)
    lab.find_issues(issue_types={"image_issue_types": DEFAULT_CLEANVISION_ISSUES, "spurious_correlations": {}})
    found = lab.get_info("spurious_correlations")
    table = lab.get_issues()
    SpuriousCorrelations._get_baseline = lambda self: float(np.bincount(self.labels).max() / len(self.labels))
    fixed = handle_spurious_correlations(imagelab_issues=lab._imagelab.issues, labels=lab.labels, threshold=found["threshold"])
    SpuriousCorrelations._get_baseline = released
    scores = [{name.removesuffix("_score"): score for name, score in some["correlations_df"].itertuples(index=False)} for some in (found, fixed)]
    extremes = {name: [int(table[f"{name}_score"].idxmin()), int(table[f"{name}_score"].idxmax())] for name in scores[0]}
    results.append({"released": scores[0], "fixed": scores[1], "extremes": extremes, "threshold": found["threshold"]})
json.dump(results, open(sys.argv[2], "w"))
"""


def marked(image: Image.Image) -> Image.Image:
    """Add an opaque logo, a fifth of the side, at the bottom right."""
    side = min(image.size) // 5
    colors = np.random.default_rng(0).integers(0, 256, (3, 3, 3), np.uint8)  # the same logo each time
    image.paste(Image.fromarray(colors).resize((side, side), Image.Resampling.NEAREST), (image.width - side - 1, image.height - side - 1))
    return image


@dataclass(frozen=True)
class Effect:
    """An edit of an image, and the property by which each tool could detect it."""

    edit: Callable[[Image.Image], Image.Image]
    ours: str | None
    theirs: str | None
    quality: int = 95


EFFECTS = {
    "darkness, a third": Effect(lambda image: ImageEnhance.Brightness(image).enhance(1 / 3), "brightness", "dark"),
    "blur, 1/32 of the side": Effect(lambda image: image.filter(ImageFilter.GaussianBlur(min(image.size) / 32)), "sharpness", "blurry"),
    "contrast, a twelfth": Effect(lambda image: ImageEnhance.Contrast(image).enhance(1 / 12), "contrast", "low_information"),
    "aspect ratio 2:1": Effect(
        lambda image: image.crop((0, image.height // 4, image.width, image.height // 4 + image.height // 2)), "aspect ratio", "odd_aspect_ratio"
    ),
    "size, twice the side": Effect(lambda image: image.resize((2 * image.width, 2 * image.height)), "pixels", "odd_size"),
    "gray, one channel": Effect(lambda image: image.convert("L"), "mode", "grayscale"),
    "gray, three channels": Effect(lambda image: image.convert("L").convert("RGB"), "chroma", "grayscale"),
    "corner mark": Effect(marked, None, None),
    "JPEG quality 50": Effect(lambda image: image, "encoder", None, 50),
}
SHARES = (1.0, 0.6, 0.2)
NOTHING, UNEVEN, TRUE = "nothing", "nothing; 80% in one class", "nothing; true labels"


@dataclass
class Case:
    """One dataset: images, their labels, and the images with a planted effect."""

    group: tuple[int, str, float]
    images: list[Path]
    labels: list[str]
    target: str
    planted: set[int] = field(default_factory=set)
    paths: list[Path] = field(default_factory=list)


def cases(folder: Path, seed: int, count: int, each: int, scratch: Path) -> list[Case]:
    """Return a seed's datasets: each effect and share in one class of ``count`` and of two, and some without effects."""
    random, made = np.random.default_rng(seed), []
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if len(classes) < count:
        sys.exit(f"{folder}: {len(classes)} classes, fewer than --classes {count}")
    classes = [str(name) for name in random.choice(classes, count, replace=False)]
    for names in (classes, classes[:2]):
        found = {name: [path for path in sorted((folder / name).rglob("*")) if path.is_file()] for name in names}
        if few := next((name for name, paths in found.items() if len(paths) < each), None):
            sys.exit(f"{folder / few}: {len(found[few])} images, fewer than --images {each}")
        sources = [paths[at] for paths in found.values() for at in random.choice(len(paths), each, replace=False)]
        images = [plain(source, scratch / "plain" / source.parent.name / f"{source.stem}.jpg") for source in sources]
        true = [name for name in names for _ in range(each)]
        for effect in (*EFFECTS, NOTHING, TRUE, *((UNEVEN,) if len(names) == 2 else ())):
            for share in SHARES if effect in EFFECTS else (0.0,):
                labels = list(np.repeat(names, [8 * each // 5, 2 * each - 8 * each // 5])) if effect == UNEVEN else true
                shuffled = [str(name) for name in (labels if effect == TRUE else random.permutation(labels))]
                case = Case((len(names), effect, share), images, shuffled, str(random.choice(names)))
                mine = [at for at, name in enumerate(shuffled) if name == case.target]
                case.planted = {int(at) for at in random.choice(mine, round(share * len(mine)), replace=False)}
                made.append(case)
    return made


def plain(source: Path, target: Path) -> Path:
    """Write a re-encoded copy, once."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(source) as image:
            image.convert("RGB").save(target, quality=95, subsampling=0)
    return target


def write(case: Case, folder: Path) -> None:
    """Write a dataset as class folders; files without an effect are hard links to one copy."""
    for at, (image, label) in enumerate(zip(case.images, case.labels, strict=True)):
        path = folder / label / f"{at:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        case.paths.append(path)
        if at in case.planted:
            effect = EFFECTS[case.group[1]]
            with Image.open(image) as opened:
                effect.edit(opened.convert("RGB")).save(path, quality=effect.quality, subsampling=0)
        else:
            os.link(image, path)


def ours(case: Case, folder: Path, run: Path, cache: Path) -> dict[str, float]:
    """Scan a dataset; return findings about the class with the planted effect, and about others."""
    options = audit.ScanOptions(backbone="embedded", offline=True, only=("shortcuts", "marks"), cache=str(cache))
    opened = audit.scan(folder, run, options=options)
    findings, result = opened.findings, {}
    about = findings[findings["label"] == case.target]
    shown = [example for evidence in about["evidence"] for example in json.loads(evidence)["examples"]]
    result["named"] = float(len(about) > 0)
    result["findings"] = float(len(findings))
    result["of others"] = float((findings["label"] != case.target).sum())
    if shown and case.planted:
        result["bears"] = float(np.mean([int(Path(example).stem) in case.planted for example in shown]))
    effect = EFFECTS.get(case.group[1])
    if effect is not None and effect.ours is not None:
        classes = class_halves(opened.samples, opened.pairs, 20)
        found = next(one for one in properties(opened.samples.iloc[classes.rows]) if one.name == effect.ours)
        areas, _ = separability(*(part[classes.counted] for part in (found.bins, classes.codes, classes.half)), len(classes.named))
        result["auc"] = float(areas[classes.named.index(case.target)])
    return result


def theirs(case: Case, variants: dict[str, dict[str, float]], extremes: dict[str, list[int]], threshold: float) -> dict[str, float]:
    """Return cleanlab's score of the property that could show the effect (the lowest of all if none could), and whether it reports any."""
    effect, row = EFFECTS.get(case.group[1]), {}
    for which, scores in variants.items():
        row[which] = scores[effect.theirs] if effect is not None and effect.theirs else min(scores.values())
        row[f"{which} reports"] = float(min(scores.values()) < threshold)
        row[f"{which} properties"] = float(sum(score < threshold for score in scores.values()))
    if row["released reports"] and case.planted:
        shown = [at for name, ends in extremes.items() if variants["released"][name] < threshold for at in ends]
        row["bears theirs"] = float(np.mean([at in case.planted for at in shown]))
    return row


def table(rows: dict[tuple[int, str, float], list[dict[str, float]]]) -> None:
    """Print one row per kind of dataset: means and counts over seeds."""
    columns = ["classes", "planted in one class", "on", "AUC", "imagenet-audit names the class", "its examples have it", "cleanlab's score, released"]
    columns += ["right baseline", "cleanlab reports, released", "right baseline", "of the images it shows, have it"]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for (classes, effect, share), seen in rows.items():
        results = pd.DataFrame(seen)
        counts = ("named" if effect in EFFECTS else "findings", "released reports", "fixed reports")
        every = ("findings", "released properties", "fixed properties")
        reported = [
            f"{(results[one] > 0).sum()} of {len(results)}" + ("" if effect in EFFECTS else f" ({results[all_of_them].sum():.0f} findings)")
            for one, all_of_them in zip(counts, every, strict=True)
        ]
        auc, bears, released, fixed, shown = (
            format(results[name].mean(), form) if name in results and results[name].notna().any() else ""
            for name, form in (("auc", ".2f"), ("bears", ".0%"), ("released", ".2f"), ("fixed", ".2f"), ("bears theirs", ".0%"))
        )
        cells = [str(classes), effect, f"{share:.0%}" if effect in EFFECTS else "", auc, reported[0], bears, released, fixed, *reported[1:], shown]
        print(f"| {' | '.join(cells)} |")


def beside(folder: Path, cache: Path, classes: int, each: int, seeds: int) -> None:
    """Print the table for a number of classes, images per class, and seeds. Exits if cleanlab cannot be installed."""
    python = peer(cache / "images", "cleanlab[image]")  # a different extra than for label errors
    if python is None:
        sys.exit("cleanlab[image] cannot be installed")
    rows = defaultdict(list)
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        for seed in range(seeds):
            made, own = cases(folder, seed, classes, each, scratch), []
            for number, case in enumerate(made):
                write(case, scratch / "data" / str(number))
                own.append(ours(case, scratch / "data" / str(number), scratch / "runs" / str(number), scratch / "cache"))
                print(f"seed {seed}: {number + 1} of {len(made)} scanned", end="\r", file=sys.stderr)
            (scratch / "cases.json").write_text(json.dumps([([str(path) for path in case.paths], case.labels) for case in made]))
            subprocess.run([python, "-c", CLEANLAB, scratch / "cases.json", scratch / "results.json"], check=True, stdout=subprocess.DEVNULL)
            for case, mine, result in zip(made, own, json.loads((scratch / "results.json").read_text()), strict=True):
                extremes, threshold = result.pop("extremes"), result.pop("threshold")
                rows[case.group].append(mine | theirs(case, result, extremes, threshold))
            for part in ("data", "runs"):
                shutil.rmtree(scratch / part)
    table(rows)
    others = sum(row["of others"] for (count, effect, _), seen in rows.items() for row in seen if count > 2 and effect in EFFECTS)
    print(f"\nimagenet-audit's findings about other classes in datasets with a planted effect: {others:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=images(), help="a folder of class folders")
    parser.add_argument("--cache", type=Path, required=True, help="folder for the peers' virtual environments")
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--images", type=int, default=50, help="images per class, at least 50")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    beside(arguments.folder, arguments.cache, arguments.classes, arguments.images, arguments.seeds)


if __name__ == "__main__":
    main()
