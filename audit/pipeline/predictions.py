"""The predictions stage: a full fit, or after a small change of the dataset the last fit's models for the new images alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from audit.errors import RunError
from audit.io.artifacts import filling, read_arrays, replacing
from audit.predictions.incremental import FROM_ROWS, MAX_CHANGED, Fitted, count_changed, update
from audit.predictions.predictor import Predictor, load_predictor
from audit.run.identity import ordinal_index
from audit.run.tables import open_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audit.io.progress import Observer

MADE_OF, PREDICTOR = "state/predicted.npz", "state/predictor.npz"
"""What predictions were made of, and the models that made them."""


def predict(  # noqa: PLR0913  the stage's inputs are that many
    run: Path,
    images: npt.NDArray[np.bytes_],
    labels: npt.NDArray[np.int32],
    groups: npt.NDArray[np.int64],
    *,
    plan: str,
    before: Mapping[str, Any],
    seed: int,
    device: str = "cpu",
    observer: Observer,
) -> dict[str, object]:
    """Write ``predictions.npy`` and what a later scan needs to carry them over.

    Args:
        run: the run directory, with ``embeddings.npy``.
        images: ``[n]`` what each embedding was made from; empty where there is none.
        labels: ``[n]`` class codes; -1 = unlabelled.
        groups: ``[n]``; copies of one picture share a number.
        plan: digest of all that predictions depend on besides the images; one that differs asks for a full fit.
        before: the stage's facts as the last scan returned them; empty where there was none.
        seed: decides folds and models.
        device: where the networks are fitted, as PyTorch names it.
        observer: told of the progress.

    Returns:
        Facts for the run's record.
    """
    embeddings = open_rows(run, "embeddings", len(images))
    readable = int((images != b"").sum())
    has_fit = {"changed_since_fit", "not_judged"} <= before.keys() and (run / MADE_OF).is_file() and (run / PREDICTOR).is_file()
    if before.get("plan") == plan and readable >= FROM_ROWS and has_fit:
        try:
            last = _last_fit(run, images, int(before["changed_since_fit"]))
        except RunError as error:
            observer.note(f"label predictions: {error.where}: {error.problem}; all models are fitted anew")
        else:
            changed = count_changed(last.known, last.old_row, labels, readable)
            if changed <= MAX_CHANGED * readable:
                with filling(run / "predictions.npy", (len(images), last.known.probabilities.shape[1]), np.float32) as into:
                    updated = update(last.known, last.predictor, last.old_row, embeddings, groups, into)
                _store(run, images, labels, updated.fold)
                observer.note(f"label predictions: {updated.predicted:,} new images are judged by the models of the last full fit")
                not_judged = int(before["not_judged"]) + updated.not_judged
                return {**before, "changed_since_fit": changed, "predicted_anew": updated.predicted, "not_judged": not_judged}
    from audit.predictions.out_of_sample import out_of_sample

    with filling(run / "predictions.npy", (len(images), int(labels.max(initial=-1)) + 1), np.float32) as into:
        found = out_of_sample(embeddings, labels, groups, images=images, seed=seed, device=device, into=into, advance=observer.advance)
    if found.fold is not None and found.predictor is not None and readable >= FROM_ROWS:
        (run / "state").mkdir(exist_ok=True)
        found.predictor.save(run / PREDICTOR)
        _store(run, images, labels, found.fold)
    return {**found.record, "plan": plan, "changed_since_fit": 0, "predicted_anew": readable}


@dataclass(frozen=True, slots=True)
class _LastFit:
    known: Fitted
    predictor: Predictor
    old_row: npt.NDArray[np.int64]
    """``[n]`` where a row stood in ``known``; -1 where its content was not there."""


def _last_fit(run: Path, images: npt.NDArray[np.bytes_], changed: int) -> _LastFit:
    """Read what a scan left for the next. Raises RunError where one of its files is damaged."""
    stored = read_arrays(run / MADE_OF, "of", "labels", "fold")
    of = stored["of"]
    old_row = ordinal_index(of).get_indexer(ordinal_index(images)).astype(np.int64)
    old_row[images == b""] = -1
    known = Fitted(open_rows(run, "predictions", len(of)), stored["fold"], stored["labels"], int((of != b"").sum()), changed)
    return _LastFit(known, load_predictor(run / PREDICTOR), old_row)


def _store(run: Path, images: npt.NDArray[np.bytes_], labels: npt.NDArray[np.int32], fold: npt.NDArray[np.int8]) -> None:
    with replacing(run / MADE_OF) as file:
        np.savez(file, allow_pickle=False, of=images, labels=labels, fold=fold)
