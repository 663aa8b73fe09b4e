"""What images show besides their class, as judged by CLIP: people, indoors or outdoors, text, drawings, seasons, or your own questions.

Why it matters: a model trained on a class whose images are all outdoors, or all show people, learns the scene instead of the object, and fails on
other scenes.

How it works: questions are answered zero-shot. An image's embedding is compared with the embeddings of the answers; the softmax of the cosines (times
100, as CLIP was trained) is the probability of each answer. Each class is compared with all others; the false discovery rate is controlled over every
class and answer. Copies of an image count once.

Blind spots: CLIP answers from what it learned on the web, including its prejudices. It is unreliable for small text, counts and negation ("without
people"). The default questions ask nothing about persons except whether there are any. Backbones without a text tower skip the check.

Papers: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision"; Benjamini & Hochberg 1995, "Controlling the
False Discovery Rate", JRSS B.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from audit.checks.base import Evidence, Family, Finding, Result, Skipped, require_above, require_between_0_and_1
from audit.errors import ConfigError
from audit.labels.class_names import class_name
from audit.pairs.duplicate_sets import duplicate_sets
from audit.predictions.calibration import softmax
from audit.statistics.multiple_testing import adjusted_p, concentration_p
from audit.statistics.one_per_duplicate_set import one_per_duplicate_set

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from audit.backbones import EncodeText

KINDS = ("answers", "one_sided")
FAMILY: Family = "bias"
EVIDENCE = {
    "question": Evidence("Question"),
    "answer": Evidence("Answer"),
    "images": Evidence("Images"),
    "pictures": Evidence("Distinct images"),
    "shares": Evidence("Shares", "share", by_name=True),
    "unsure": Evidence("Unsure", "share"),
    "share": Evidence("Share", "share"),
    "usual": Evidence("Usual", "share"),
    "adjusted_p": Evidence("Adjusted p-value", "p"),
    "examples": Evidence("Examples"),
}

_ROWS_AT_ONCE = 65_536
_SHARPNESS = 100.0
"""CLIP's factor of the cosines at the end of its training."""
_EXAMPLES = 5

_QUESTIONS = (
    "people: a photo with people in it | a photo of things only",
    "place: a photo taken indoors | a photo taken outdoors",
    "text: a picture with written text on it | a picture without any text",
    "medium: a photograph | a drawing | a painting | a computer rendering",
    "season: a photo taken in spring | a photo taken in summer | a photo taken in autumn | a photo taken in winter",
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """The questions, and the limits, which are conventions."""

    questions: tuple[str, ...] = _QUESTIONS
    """Each ``name: answer | answer | ...``; answers are sentences about an image."""
    least_probability: float = 0.7
    """An answer counts from this probability; an image without one counts as unsure; above 0, below 1."""
    least_difference: float = 0.3
    """A class is reported where an answer's share is this much above that of the other classes; above 0, below 1."""
    false_discoveries: float = 0.05
    """False discovery rate of the reported classes; above 0, below 1."""
    fewest: int = 20
    """Distinct images that a class needs; at least 1."""

    def __post_init__(self) -> None:
        require_between_0_and_1(self, "least_probability", "least_difference", "false_discoveries")
        require_above(self, fewest=0)
        for text in self.questions:
            read_question(text)


class Question(NamedTuple):
    """A question and its answers."""

    name: str
    answers: tuple[str, ...]


class _Answer(NamedTuple):
    question: str
    answer: str
    sure: npt.NDArray[np.float32]
    """``[n]`` probability of the answer for each image."""


def read_question(text: str) -> Question:
    """Parse a question written as ``name: answer | answer``. Raises ConfigError.

    >>> read_question("place: indoors | outdoors")
    Question(name='place', answers=('indoors', 'outdoors'))
    """
    name, colon, rest = text.partition(":")
    answers = tuple(answer.strip() for answer in rest.split("|"))
    if not colon or not name.strip() or len(answers) < 2 or not all(answers) or len(set(answers)) < len(answers):
        raise ConfigError("questions", f"{text!r} is not a valid question", "write 'name: answer | another answer'")
    return Question(name.strip(), answers)


def answered(embeddings: npt.NDArray[np.float16], texts: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return ``[n, m]`` probabilities of m answers; rows sum to 1, NaN where an image has no embedding.

    Args:
        embeddings: float16 ``[n, d]`` unit rows; may be memory-mapped, read in blocks.
        texts: float32 ``[m, d]`` unit rows, one for each answer.
    """
    found = np.empty((len(embeddings), len(texts)), np.float32)
    for start in range(0, len(embeddings), _ROWS_AT_ONCE):
        cosines = _SHARPNESS * (np.asarray(embeddings[start : start + _ROWS_AT_ONCE], np.float32) @ texts.T)
        found[start : start + len(cosines)] = softmax(cosines)
    return found


def run(
    samples: pd.DataFrame,
    embeddings: npt.NDArray[np.float16],
    pairs: pd.DataFrame,
    encode_text: EncodeText,
    class_words: Mapping[str, str] | None = None,
    *,
    options: Options,
) -> Result | Skipped:
    """Report the answers for the dataset, and classes whose answers differ; images score 0."""
    usable = np.isfinite(np.asarray(embeddings[:, 0], np.float32))
    if not usable.any():
        return Skipped("no image has an embedding")
    sets = duplicate_sets(pairs, len(samples))
    rows = np.flatnonzero(usable)
    once = rows[one_per_duplicate_set(samples.iloc[rows], sets[rows], ())]
    findings = []
    answers: list[_Answer] = []
    labelled = rows[samples["label"].iloc[rows].notna().to_numpy(bool)]
    for question in map(read_question, options.questions):
        sure = answered(embeddings, encode_text(question.answers))
        findings.append(_of_dataset(question, sure[once], len(rows), options))
        answers += [_Answer(question.name, answer, sure[labelled, at]) for at, answer in enumerate(question.answers)]
    findings += _of_classes(samples.iloc[labelled], sets[labelled], answers, class_words or {}, options)
    return Result(np.where(usable, np.float32(0), np.float32(np.nan)), findings)


def _of_dataset(question: Question, sure: npt.NDArray[np.float32], images: int, options: Options) -> Finding:
    shares = (sure >= options.least_probability).mean(axis=0)
    ordered = np.argsort(-shares, kind="stable")
    listed = ", ".join(f"{question.answers[at]} {shares[at]:.0%}" for at in ordered)
    unsure = float((sure < options.least_probability).all(axis=1).mean())
    evidence = {
        "question": question.name,
        "images": images,
        "pictures": len(sure),
        "shares": dict(zip(question.answers, map(float, shares), strict=True)),
        "unsure": unsure,
    }
    message = f"Answers to {question.name!r}: {listed}, unsure {unsure:.0%}. Check that this matches the images your model will see."
    return Finding(kind="answers", score=0.0, severity="info", message=message, evidence=evidence)


def _of_classes(
    labelled: pd.DataFrame, sets: npt.NDArray[np.int64], answers: list[_Answer], words: Mapping[str, str], options: Options
) -> list[Finding]:
    """Compare every class with all others; ``labelled``, ``sets`` and the answers have a row for each labelled image."""
    ids = labelled["sample_id"].to_numpy(object)
    codes, names = pd.factorize(labelled["label"], sort=True)
    counted = one_per_duplicate_set(labelled, sets)
    size, total = np.bincount(codes[counted], minlength=len(names)), int(counted.sum())
    judged = np.flatnonzero((size >= options.fewest) & (size < total))
    yes = [np.bincount(codes[counted], one.sure[counted] >= options.least_probability, len(names)) for one in answers]
    counts = np.reshape(yes, (len(answers), len(names)))
    mine, every = counts[:, judged], counts.sum(1, keepdims=True)
    share, usual = mine / size[judged], (every - mine) / (total - size[judged])
    p = adjusted_p(concentration_p(mine, size[judged], every, total), share - usual >= options.least_difference)
    findings = []
    for which, at in np.argwhere(p <= options.false_discoveries).tolist():
        (question, answer, sure), code = answers[which], judged[at]
        label, above = str(names[code]), float(share[which, at] - usual[which, at])
        rows = np.flatnonzero(codes == code)
        message = (
            f"{share[which, at]:.0%} of the images of {class_name(label, words)} are classified as {answer!r}, compared with {usual[which, at]:.0%} "
            "of the other classes. Collect or test on images that are not."
        )
        evidence = {
            "question": question,
            "answer": answer,
            "images": len(rows),
            "pictures": int(size[code]),
            "share": float(share[which, at]),
            "usual": float(usual[which, at]),
            "adjusted_p": float(p[which, at]),
            "examples": ids[rows[np.lexsort((ids[rows], -sure[rows]))][:_EXAMPLES]].tolist(),
        }
        findings.append(Finding(kind="one_sided", score=min(above, 1.0), severity="info", message=message, label=label, evidence=evidence))
    return findings
