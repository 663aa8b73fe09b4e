"""What else is on the pictures, by class: people, indoors or outdoors, text, drawings, seasons, or questions of your own, answered by CLIP.

Why it matters: a class whose pictures were all taken outdoors, or all show people, teaches a model the scene instead of the object, and fails where
the scene is another.

An answer is zero-shot: an image's embedding is compared with those of sentences, and the softmax of the cosines (times 100, as CLIP was trained) is
how sure the model is. Classes are compared with all others; the false discovery rate is controlled over every class and question.

Blind spots: CLIP answers from what it learned on the web, prejudices included; small text, counts and negation ("without people") it reads badly. No
question about persons beyond whether there are any is asked unless you ask it. Other backbones have no text tower: the check is then skipped.

Papers: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision"; Benjamini & Hochberg 1995, "Controlling the
False Discovery Rate", JRSS B.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from audit.checks.base import Finding, Result, Skipped
from audit.checks.class_names import class_name
from audit.checks.option_ranges import require_between_0_and_1
from audit.errors import ConfigError
from audit.labels.calibration import softmax

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import pandas as pd

    from audit.backbones import EncodeText

_ROWS_AT_ONCE = 65_536
_SHARPNESS = 100.0
"""What CLIP multiplies cosines by at the end of its training."""
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
    """What is asked; the limits are conventions."""

    questions: tuple[str, ...] = _QUESTIONS
    """Each ``name: answer | answer | ...``, the answers as sentences about a picture."""
    least_probability: float = 0.7
    """An image has an answer where the model gives it this much; else it counts as unsure, 0..1."""
    least_difference: float = 0.3
    """A class is reported where an answer's share is this much above that of the other classes, 0..1."""
    false_discoveries: float = 0.05
    """Of the classes reported, at most this share is expected to be chance; above 0, below 1."""
    fewest: int = 20
    """Images a class needs, at least 1."""

    def __post_init__(self) -> None:
        require_between_0_and_1(self, "least_probability", "least_difference", "false_discoveries")
        for text in self.questions:
            read_question(text)


class Question(NamedTuple):
    """A question and its answers."""

    name: str
    answers: tuple[str, ...]


def read_question(text: str) -> Question:
    """Return a question from ``name: answer | answer``. Raises ConfigError.

    >>> read_question("place: indoors | outdoors")
    Question(name='place', answers=('indoors', 'outdoors'))
    """
    name, colon, rest = text.partition(":")
    answers = tuple(answer.strip() for answer in rest.split("|"))
    if not colon or not name.strip() or len(answers) < 2 or not all(answers) or len(set(answers)) < len(answers):
        raise ConfigError("questions", f"{text!r} is no question", "write 'name: answer | another answer'")
    return Question(name.strip(), answers)


def answered(embeddings: npt.NDArray[np.float16], texts: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return ``[n, m]`` how sure the model is of each of m answers, rows summing to 1; NaN where an image has no embedding.

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
    encode_text: EncodeText,
    class_words: Mapping[str, str] | None = None,
    *,
    options: Options,
) -> Result | Skipped:
    """Report how each question is answered in the dataset, and classes that are answered otherwise; images have no score above 0."""
    usable = np.isfinite(np.asarray(embeddings[:, 0], np.float32))
    if not usable.any():
        return Skipped("no image has an embedding")
    findings = []
    told: list[tuple[Question, npt.NDArray[np.float32]]] = []
    for question in map(read_question, options.questions):
        sure = answered(embeddings, encode_text(question.answers))
        told.append((question, sure))
        findings.append(_of_dataset(question, sure[usable], options))
    findings += _of_classes(samples, told, usable, class_words or {}, options)
    return Result(np.where(usable, np.float32(0), np.float32(np.nan)), findings)


def _of_dataset(question: Question, sure: npt.NDArray[np.float32], options: Options) -> Finding:
    shares = (sure >= options.least_probability).mean(axis=0)
    ordered = np.argsort(-shares, kind="stable")
    listed = ", ".join(f"{question.answers[at]} {shares[at]:.0%}" for at in ordered)
    unsure = 1 - float(shares.sum())
    evidence = {
        "question": question.name,
        "images": len(sure),
        "shares": dict(zip(question.answers, map(float, shares), strict=True)),
        "unsure": unsure,
    }
    message = f"Answers to {question.name!r}: {listed}, unsure {unsure:.0%}; see whether that is what the model will meet."
    return Finding(kind="answers", score=0.0, severity="info", message=message, evidence=evidence)


def _of_classes(
    samples: pd.DataFrame,
    told: list[tuple[Question, npt.NDArray[np.float32]]],
    usable: npt.NDArray[np.bool_],
    words: Mapping[str, str],
    options: Options,
) -> list[Finding]:
    from scipy.stats import false_discovery_control, hypergeom

    labelled = usable & samples["label"].notna().to_numpy()
    ids = samples["sample_id"].to_numpy(object)
    indices: Mapping[Any, Any] = samples.groupby("label").indices
    classes = {str(label): rows[labelled[rows]] for label, rows in sorted(indices.items())}
    classes = {label: rows for label, rows in classes.items() if options.fewest <= len(rows) < labelled.sum()}
    candidates, chances = [], []
    for question, sure in told:
        for at, answer in enumerate(question.answers):
            yes = labelled & (sure[:, at] >= options.least_probability)
            for label, rows in classes.items():
                mine = int(yes[rows].sum())
                share, usual = mine / len(rows), (yes.sum() - mine) / (labelled.sum() - len(rows))
                chances.append(float(hypergeom.sf(mine - 1, labelled.sum(), yes.sum(), len(rows))))
                candidates.append((question, answer, label, share, float(usual), rows[np.lexsort((ids[rows], -sure[rows, at]))][:_EXAMPLES]))
    findings = []
    for (question, answer, label, share, usual, examples), q in zip(candidates, false_discovery_control(chances) if chances else [], strict=True):
        if q > options.false_discoveries or share - usual < options.least_difference:
            continue
        message = (
            f"Of {class_name(label, words)}, {share:.0%} are answered {answer!r} where {usual:.0%} of the other classes are; "
            "collect images that are not, or test on such."
        )
        evidence = {
            "question": question.name,
            "answer": answer,
            "images": len(classes[label]),
            "share": share,
            "usual": usual,
            "adjusted_p": float(q),
            "examples": ids[examples].tolist(),
        }
        findings.append(Finding(kind="one_sided", score=min(share - usual, 1.0), severity="info", message=message, label=label, evidence=evidence))
    return findings
