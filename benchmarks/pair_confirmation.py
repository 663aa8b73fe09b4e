"""How well do the images themselves separate copies from other shots of one thing and from different things?

    python benchmarks/pair_confirmation.py clothing=FOLDER:PAIRS.csv signs=FOLDER:PAIRS.csv photos=FOLDER [--edited 12] [--unjudged 200]

Each field is a folder of images, with or without a table ``sample_i, sample_j, verdict`` (copy, same_scene, different; others are left out). Three
kinds of pairs are compared at up to 320 pixels: the judged ones, edited copies made here, and the pairs of different images that look most alike.
Local features place one image in the other in any orientation, and the correlation of their fine details, block by block, decides. Prints the
measures by field and kind, then the leave-one-field-out table: a logistic regression on the other fields, its expected and its found precision.

SIFT: Lowe 2004, "Distinctive Image Features from Scale-Invariant Keypoints", IJCV 60. RootSIFT: Arandjelovic & Zisserman 2012, "Three things everyone
should know to improve object retrieval", CVPR; a mirrored image's descriptors are a permutation of the original's. ECC: Evangelidis & Psarakis 2008,
IEEE TPAMI 30(10).
"""

from __future__ import annotations

import argparse
import io
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from inputs import photos_of
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from transformations import text

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

LONG_SIDE = 320
"""Long side in pixels at which images are compared; smaller images keep their size."""

_MOST_FEATURES = 500
_CONTRAST = 0.02
"""Half of SIFT's default: smooth images such as X-rays have few strong spots."""

_ENLARGED = 4.0
"""Largest factor by which small images are enlarged for detection only; 32 pixels have no octave to search."""

_RATIO = 0.85
"""Largest ratio of the distances to the nearest and the second nearest descriptor (Lowe 2004, section 7.1)."""

_TOLERANCE = 2.5 / LONG_SIDE
"""Largest distance between a feature and its image under the transformation, as a share of the long side; at least ``_LEAST_TOLERANCE`` pixels."""
_LEAST_TOLERANCE = 1.2
_FEWEST = 4
"""Distinct spots that must agree; three define an affine transformation."""

_SCALES, _MOST_STRETCH = (0.12, 8.0), 1.6
"""Scale, and ratio of the scales along two axes, beyond which an agreement is a coincidence."""

_cells = np.arange(128).reshape(4, 4, 8)
_MIRRORED = _cells[::-1, :, :][:, :, -np.arange(8) % 8].ravel()
"""A SIFT descriptor has 4 x 4 cells along the keypoint's own axes and 8 directions; a mirror reverses the rows and the sense of rotation."""


@dataclass(frozen=True, slots=True)
class LocalFeatures:
    """An image at the size at which it is compared, and its features."""

    gray: npt.NDArray[np.uint8]
    """``[h, w]`` luma."""
    color: npt.NDArray[np.uint8]
    """``[h, w, 3]`` RGB."""
    points: Floats
    """``[k, 2]`` x and y in pixels of ``gray``."""
    descriptors: Floats
    """``[k, 128]`` unit vectors."""

    def mirrored(self) -> LocalFeatures:
        """Return the features of the mirrored image."""
        flip = np.array([-1, 1], np.float32)
        points = self.points * flip + np.array([self.gray.shape[1] - 1, 0], np.float32)
        return LocalFeatures(
            np.ascontiguousarray(self.gray[:, ::-1]), np.ascontiguousarray(self.color[:, ::-1]), points, self.descriptors[:, _MIRRORED]
        )


@dataclass(frozen=True, slots=True)
class Agreement:
    """A transformation that features of two images agree on."""

    matrix: Doubles
    """``[2, 3]``: pixels of the second image, mirrored before where ``mirrored`` -> pixels of the first one."""
    mirrored: bool
    inliers: int
    """Distinct spots that agree."""
    matches: int
    """Descriptors that have a distinctive match."""


def local_features(pixels: npt.NDArray[np.uint8]) -> LocalFeatures:
    """Return the features of an upright RGB image, uint8 ``[h, w, 3]``."""
    scale = LONG_SIDE / max(pixels.shape[:2])
    if scale < 1:
        size = (max(round(pixels.shape[1] * scale), 1), max(round(pixels.shape[0] * scale), 1))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    enlarged = min(scale, _ENLARGED) if scale > 1.5 else 1.0
    seen = cv2.resize(gray, None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_CUBIC) if enlarged > 1 else gray
    keypoints, found = cv2.SIFT_create(_MOST_FEATURES, contrastThreshold=_CONTRAST).detectAndCompute(seen, None)
    if found is None:
        return LocalFeatures(gray, pixels, np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32))
    points = (np.array([keypoint.pt for keypoint in keypoints], np.float32) + 0.5) / enlarged - 0.5
    return LocalFeatures(gray, pixels, points, np.sqrt(found / np.maximum(found.sum(axis=1, keepdims=True), 1e-6)))


def agreements(first: LocalFeatures, second: LocalFeatures) -> list[Agreement]:
    """Return the transformations on which features agree, at most one unmirrored and one mirrored, the one with more inliers first."""
    found = []
    tolerance = max(_LEAST_TOLERANCE, _TOLERANCE * max(first.gray.shape))
    for mirrored in (False, True):
        other = second.mirrored() if mirrored else second
        mine, theirs = _matches(first.descriptors, other.descriptors)
        if len(mine) < _FEWEST:
            continue
        one, two = first.points[mine], other.points[theirs]
        matrix, inside = cv2.estimateAffine2D(two, one, method=cv2.USAC_MAGSAC, ransacReprojThreshold=tolerance, maxIters=2000, confidence=0.999)
        if matrix is None or not plausible(matrix):
            continue
        inliers = inside.ravel() > 0
        distinct = min(len(np.unique(np.round(points[inliers]), axis=0)) for points in (one, two))
        if distinct >= _FEWEST:
            found.append(Agreement(np.asarray(matrix, np.float64), mirrored, distinct, len(mine)))
    return sorted(found, key=lambda agreement: -agreement.inliers)


def plausible(matrix: Doubles) -> bool:
    """Return whether an affine ``[2, 3]`` matrix neither collapses nor blows up nor strongly stretches an image."""
    if not np.isfinite(matrix).all():
        return False
    large, small = np.linalg.svd(matrix[:, :2], compute_uv=False)
    return bool(_SCALES[0] < small and large < _SCALES[1] and large < _MOST_STRETCH * small)


def _matches(mine: Floats, theirs: Floats) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the positions of descriptors whose nearest one is distinctly nearer than the second nearest."""
    if len(mine) < _FEWEST or len(theirs) < _FEWEST:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    cosines = mine @ theirs.T
    rows = np.arange(len(mine))
    nearest = cosines.argmax(axis=1)
    best = cosines[rows, nearest]
    cosines[rows, nearest] = -1
    distances = [np.sqrt(np.maximum(2 - 2 * cosine, 0)) for cosine in (best, cosines.max(axis=1))]
    distinctive = np.flatnonzero(distances[0] < _RATIO * distances[1])
    return distinctive, nearest[distinctive]


BANDS = ((0.5, 1.0), (0.8, 2.5), (1.6, 5.0))
"""Standard deviations, in pixels, of the two blurs whose difference is compared: the finest details, which compression removes first, to coarse ones,
which survive a strong blur."""

_BLOCKS, _BLOCK_SIDES = 5, (8, 24)
"""Blocks along the short side, as far as their sides in pixels stay within these limits."""

_LEAST_DETAIL = 1.0
"""Standard deviation of a block, in 8-bit luma, below which neither image has details there: compression noise alone reaches it."""

_BLURS = (0.0, 0.7, 1.0, 1.5, 2.0, 3.0)
"""Standard deviations, in pixels, of the blur that is tried on the sharper image: a blurred copy has lost details, but not gained others."""

_LEAST_OVERLAP = 0.03
_STEPS, _PRECISION, _SMOOTHING = 12, 1e-4, 3
_SAME_SCALE = 0.95
_WORSE = 1e-3


@dataclass(frozen=True, slots=True)
class Details:
    """How well two registered images fit."""

    blocks: npt.NDArray[np.int64]
    """``[bands]`` blocks with details in either image."""
    quartiles: Doubles
    """``[bands, 3]`` quartiles of the blocks' correlations, -1..1; NaN without blocks."""
    correlation: float
    """Of luma over the overlap, -1..1."""
    residual: float
    """Mean absolute difference of luma after brightness and contrast are matched, 0..1."""
    color_difference: float
    """Mean absolute difference of the RGB values, 0..1."""
    local_difference: float
    """The same, in the block where it is largest."""
    overlap: float
    """Share of the coarser image that the other covers, 0..1."""
    side: int
    """Long side of the coarser image in pixels."""
    matrix: Doubles
    """``[2, 3]``: pixels of the second image, mirrored before where ``mirrored`` -> pixels of the first one, refined."""
    mirrored: bool


def compare_details(first: LocalFeatures, second: LocalFeatures, agreement: Agreement) -> Details | None:
    """Refine a transformation on the pixels and compare the details; None where the images hardly overlap."""
    second = second.mirrored() if agreement.mirrored else second
    scale = float(np.sqrt(abs(np.linalg.det(agreement.matrix[:, :2]))))
    coarse, fine, matrix = (first, second, agreement.matrix) if scale <= 1 else (second, first, inverse(agreement.matrix))
    found = _refined(coarse, fine, matrix)
    if found is None:
        return None
    matrix, inside = found
    warped = _warped(fine.color, matrix, coarse.gray)
    mine, theirs = coarse.color.astype(np.float32), warped.astype(np.float32)
    luma = [image @ np.array([0.299, 0.587, 0.114], np.float32) for image in (mine, theirs)]
    side = int(np.clip(min(coarse.gray.shape) // _BLOCKS, *_BLOCK_SIDES))
    within = cv2.erode(inside.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=1).astype(bool)
    if not within.any():
        return None
    covered = _block_means(within.astype(np.float32), side) >= 0.9
    luma = list(_equally_sharp(luma[0], luma[1], within))
    bands = [_band(luma[0], luma[1], band, covered, side) for band in BANDS]
    difference = np.abs(mine - theirs).mean(axis=2) / 255
    a, b = (image[within] - image[within].mean() for image in luma)
    squares, product = float(b @ b), float(a @ b)
    blocks = _block_means(difference, side)[covered]
    return Details(
        np.array([len(band) for band in bands]),
        np.array([np.percentile(band, (25, 50, 75)) if len(band) else (np.nan,) * 3 for band in bands]),
        product / max(float(np.sqrt(squares * float(a @ a))), 1.0),
        float(np.abs(a - max(product, 0.0) / max(squares, 1.0) * b).mean()) / 255,
        float(difference[within].mean()),
        float(blocks.max(initial=0.0)),
        float(inside.mean()),
        max(coarse.gray.shape),
        matrix if scale <= 1 else inverse(matrix),
        agreement.mirrored,
    )


def inverse(matrix: Doubles) -> Doubles:
    """Return the inverse of an affine ``[2, 3]`` matrix."""
    return np.asarray(np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2], np.float64)


def _refined(coarse: LocalFeatures, fine: LocalFeatures, matrix: Doubles) -> tuple[Doubles, npt.NDArray[np.bool_]] | None:
    """Maximise the enhanced correlation coefficient (Evangelidis & Psarakis 2008, IEEE TPAMI 30(10)); keep the start where that does not help."""
    start, inside = _warped(fine.gray, matrix, coarse.gray), _inside(fine.gray, matrix, coarse.gray)
    if inside.mean() < _LEAST_OVERLAP:
        return None
    stop = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, _STEPS, _PRECISION)
    try:
        _, step = cv2.findTransformECC(
            coarse.gray, start, np.eye(2, 3, dtype=np.float32), cv2.MOTION_AFFINE, stop, inside.astype(np.uint8) * 255, _SMOOTHING
        )
    except cv2.error:  # flat, or already as good as it gets
        return matrix, inside
    better = np.vstack([inverse(np.asarray(step, np.float64)), [0, 0, 1]]) @ np.vstack([matrix, [0, 0, 1]])
    better = better[:2]
    if not plausible(better):
        return matrix, inside
    moved = _inside(fine.gray, better, coarse.gray)
    if moved.mean() < _LEAST_OVERLAP:
        return matrix, inside
    before, after = _fit(coarse.gray, start, inside), _fit(coarse.gray, _warped(fine.gray, better, coarse.gray), moved)
    return (better, moved) if after >= before - _WORSE else (matrix, inside)


def _fit(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_]) -> float:
    a, b = (image[inside].astype(np.float32) for image in (one, other))
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b) / max(float(np.sqrt((a @ a) * (b @ b))), 1.0)


def _warped(image: npt.NDArray[np.uint8], matrix: Doubles, onto: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return an image in the frame of a coarser one, without the details that one cannot show."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale < _SAME_SCALE:
        image = cv2.GaussianBlur(image, (0, 0), 0.5 * np.sqrt(1 / scale**2 - 1))
    return np.asarray(cv2.warpAffine(image, matrix, onto.shape[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _inside(image: npt.NDArray[np.uint8], matrix: Doubles, onto: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    return np.asarray(cv2.warpAffine(np.full(image.shape[:2], 255, np.uint8), matrix, onto.shape[::-1]) > 250)


def _equally_sharp(one: Floats, other: Floats, within: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Blur the sharper image until its details are as strong as those of the other."""
    weak, strong = _strength(one, within), _strength(other, within)
    swapped = weak > strong
    sharp, weak = (one, strong) if swapped else (other, weak)
    tried = [cv2.GaussianBlur(sharp, (0, 0), blur) if blur else sharp for blur in _BLURS]
    blurred = min(tried, key=lambda image: abs(np.log((_strength(image, within) + 0.1) / (weak + 0.1))))
    return (blurred, other) if swapped else (one, blurred)


def _strength(image: Floats, within: npt.NDArray[np.bool_]) -> float:
    """Return the standard deviation of the fine details, relative to that of all details, so that contrast does not count."""
    fine, coarse = (cv2.GaussianBlur(image, (0, 0), low) - cv2.GaussianBlur(image, (0, 0), high) for low, high in (BANDS[1], (2.0, 8.0)))
    return float(fine[within].std() / max(coarse[within].std(), 1e-3))


def _band(one: Floats, other: Floats, band: tuple[float, float], covered: npt.NDArray[np.bool_], side: int) -> Floats:
    """Return the correlations of the blocks that have details in either image."""
    mine, theirs = (cv2.GaussianBlur(image, (0, 0), band[0]) - cv2.GaussianBlur(image, (0, 0), band[1]) for image in (one, other))
    means = [_block_means(image, side) for image in (mine, theirs)]
    squares = [np.maximum(_block_means(image * image, side) - mean * mean, 0) for image, mean in zip((mine, theirs), means, strict=True)]
    together = _block_means(mine * theirs, side) - means[0] * means[1]
    there = covered & (np.maximum(*squares) >= _LEAST_DETAIL**2)
    return np.asarray(together[there] / np.maximum(np.sqrt(squares[0] * squares[1])[there], 1e-6), np.float32)


def _block_means(image: Floats, side: int) -> Floats:
    down, right = image.shape[0] // side, image.shape[1] // side
    return np.asarray(image[: down * side, : right * side].reshape(down, side, right, side).mean(axis=(1, 3)), np.float32)


MEASURES = ("fine", "middle", "coarse", "middle_upper", "coarse_upper", "middle_lower", "inliers", "blocks")
"""Fisher's z of the blocks' correlations: medians of the bands, upper quartiles, a lower one; logarithms of counts."""

Edit = Callable[[Image.Image], Image.Image]


def measures(first: LocalFeatures, second: LocalFeatures) -> Doubles:
    """Return `MEASURES` of the agreement whose details fit best; zeros if there is none."""
    found = [(agreement, details) for agreement in agreements(first, second) if (details := compare_details(first, second, agreement)) is not None]
    if not found:
        return np.zeros(len(MEASURES))
    agreement, details = max(found, key=lambda one: float(np.nan_to_num(one[1].quartiles[1, 1], nan=-1)))
    z = np.arctanh(np.nan_to_num(details.quartiles).clip(-0.995, 0.995))
    return np.array([*z[:, 1], *z[1:, 2], z[1, 0], *np.log1p([agreement.inliers, details.blocks[1]])])


def corner(share: float) -> Edit:
    """Keep a share of the area, at the upper left corner."""
    return lambda image: image.crop((0, 0, round(image.width * share**0.5), round(image.height * share**0.5)))


def inset(image: Image.Image) -> Image.Image:
    """Put the image, at 40% of the sides, on a blurred background."""
    whole = ImageOps.flip(image).filter(ImageFilter.GaussianBlur(max(image.size) / 25)).resize((round(image.width * 1.5), round(image.height * 1.5)))
    small = image.resize((max(round(whole.width * 0.4), 8), max(round(whole.height * 0.4), 8)), Image.Resampling.LANCZOS)
    whole.paste(small, (whole.width // 5, whole.height // 3))
    return whole


def cast(image: Image.Image) -> Image.Image:
    """Shift the colors, as another white balance does."""
    return Image.fromarray((np.asarray(image, np.float32) * [0.7, 1, 1.25] + [15, 0, 5]).clip(0, 255).astype(np.uint8))


EDITS: dict[str, tuple[Edit, int]] = {
    "half": (lambda image: image.resize((max(image.width // 2, 1), max(image.height // 2, 1)), Image.Resampling.LANCZOS), 92),
    "JPEG 15": (lambda image: image, 15),
    "mirror": (ImageOps.mirror, 92),
    "90°": (lambda image: image.rotate(90, expand=True), 92),
    "25°": (lambda image: image.rotate(25, Image.Resampling.BICUBIC), 92),
    "mirror, 90°": (lambda image: ImageOps.mirror(image).rotate(90, expand=True), 92),
    "corner 33%": (corner(1 / 3), 92),
    "squash 20%": (lambda image: image.resize((max(round(image.width * 0.8), 1), image.height), Image.Resampling.LANCZOS), 92),
    "inset 40%": (inset, 92),
    "caption": (text, 92),
    "color cast": (cast, 92),
    "contrast": (lambda image: ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(1.3)).enhance(1.3), 92),
    "blur": (lambda image: image.filter(ImageFilter.GaussianBlur(max(image.size) / 160)), 92),
}
"""Name -> the edit, and the JPEG quality of the copy."""


@dataclass(frozen=True)
class Field:
    """Images of one field, and verdicts on some of their pairs."""

    name: str
    folder: Path
    verdicts: Path | None

    def image(self, name: str) -> Image.Image:
        """Open an image upright."""
        with Image.open(self.folder / name) as opened:
            return ImageOps.exif_transpose(opened).convert("RGB")


def field(argument: str) -> Field:
    """Read ``NAME=FOLDER[:PAIRS.csv]``."""
    name, _, paths = argument.partition("=")
    folder, _, table = paths.partition(":")
    if not name or not photos_of(Path(folder)) or (table and not Path(table).is_file()):
        raise argparse.ArgumentTypeError(f"{argument}: give NAME=FOLDER or NAME=FOLDER:PAIRS.csv, with images in the folder")
    return Field(name, Path(folder), Path(table) if table else None)


def compared(one: Field, edited: int, unjudged: int) -> Iterator[tuple[str, Doubles]]:
    """Yield kind and measures of each pair of a field."""
    names = [str(path.relative_to(one.folder)) for path in photos_of(one.folder)]
    known: dict[str, LocalFeatures] = {}

    def features(name: str) -> LocalFeatures:
        if name not in known:
            known[name] = local_features(np.asarray(one.image(name)))
        return known[name]

    judged = pd.read_csv(one.verdicts) if one.verdicts else pd.DataFrame(columns=["sample_i", "sample_j", "verdict"])
    for pair in judged[judged["verdict"].isin(["copy", "same_scene", "different"])].itertuples():
        if (one.folder / pair.sample_i).is_file() and (one.folder / pair.sample_j).is_file():
            yield pair.verdict, measures(features(pair.sample_i), features(pair.sample_j))
    draw = random.Random(0)
    for name in draw.sample(names, min(edited, len(names))):
        for edit, quality in EDITS.values():
            stream = io.BytesIO()
            edit(one.image(name)).save(stream, "JPEG", quality=quality)
            yield "edited", measures(features(name), local_features(np.asarray(Image.open(stream).convert("RGB"))))
    chosen = draw.sample(names, min(1000, len(names)))
    small = np.stack([np.asarray(one.image(name).convert("L").resize((16, 16)), np.float32).ravel() for name in chosen])
    small -= small.mean(axis=1, keepdims=True)
    small /= np.maximum(np.linalg.norm(small, axis=1, keepdims=True), 1)
    alike = small @ small.T
    np.fill_diagonal(alike, -1)
    taken = {frozenset(pair) for pair in judged[["sample_i", "sample_j"]].itertuples(index=False)}
    for row in np.argsort(-alike.max(axis=1), kind="stable")[:unjudged].tolist():
        pair = chosen[row], chosen[int(alike[row].argmax())]
        if frozenset(pair) not in taken:
            taken.add(frozenset(pair))
            yield "unjudged", measures(features(pair[0]), features(pair[1]))


def left_out(table: pd.DataFrame) -> Iterator[str]:
    """Yield a row per field: a regression on the other fields, its expected and its found precision from 0.5, and its recall."""
    copies, inputs = table["kind"].isin(["copy", "edited"]).to_numpy(), table[list(MEASURES)].to_numpy(float)
    for name in table["field"].unique():
        mine = (table["field"] == name).to_numpy()
        scaler = StandardScaler().fit(inputs[~mine])
        model = LogisticRegression(C=1.0, class_weight="balanced").fit(scaler.transform(inputs[~mine]), copies[~mine])
        chance = model.predict_proba(scaler.transform(inputs[mine]))[:, 1]
        kept, right = chance >= 0.5, copies[mine]
        judged = table["kind"][mine].eq("copy").to_numpy()
        yield (
            f"| {name} | {kept.sum()} | {chance[kept].mean():.3f} | {right[kept].mean():.3f} | {(kept & right).sum() / right.sum():.3f} "
            f"| {(kept & judged).sum()} of {judged.sum()} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fields", nargs="+", type=field, metavar="NAME=FOLDER[:PAIRS.csv]")
    parser.add_argument("--edited", type=int, default=12, help="images of which edited copies are made")
    parser.add_argument("--unjudged", type=int, default=200, help="pairs of different images, the most alike first")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    rows = [(one.name, kind, *found) for one in arguments.fields for kind, found in compared(one, arguments.edited, arguments.unjudged)]
    table = pd.DataFrame(rows, columns=["field", "kind", *MEASURES])
    print("| field | kind | pairs | median of the middle band, 5% / 50% / 95% | inliers, 50% |\n|---|---|---|---|---|")
    for (name, kind), part in table.groupby(["field", "kind"]):
        low, middle, high = np.tanh(part["middle"].quantile([0.05, 0.5, 0.95]))
        print(f"| {name} | {kind} | {len(part)} | {low:.2f} / {middle:.2f} / {high:.2f} | {np.expm1(part['inliers'].median()):.0f} |")
    if len(arguments.fields) > 1:
        print("\n| left out | kept | expected precision | found | recall | judged copies |\n|---|---|---|---|---|---|")
        print(*left_out(table), sep="\n")


if __name__ == "__main__":
    main()
