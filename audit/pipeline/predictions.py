"""Predictions: out-of-sample class probabilities and what they say about each given label.

After a small change of the dataset, the models of the last full fit judge the new images alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from audit.errors import AuditError, ConfigError, RunError
from audit.io.artifacts import filling, open_array, read_arrays, replacing, write_table
from audit.pairs.duplicate_sets import connected_sets
from audit.pipeline.code_digest import code_digest
from audit.pipeline.stage import LABEL_EMBEDDINGS, Scan, Stage
from audit.predictions.incremental import FROM_ROWS, MAX_CHANGED, Fitted, count_changed, update
from audit.predictions.predictor import Predictor, load_predictor
from audit.run.identity import old_rows
from audit.run.record import key_of
from audit.run.tables import open_rows
from audit.tables import LABEL_QUALITY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audit.config import ScanOptions
    from audit.io.progress import Observer

FineTuned = Callable[[Scan, npt.NDArray[np.int32], npt.NDArray[np.float16]], dict[str, object]]
"""Fine-tunes the backbone: the scan, class codes and embeddings -> facts for the record; see `audit.pipeline.finetuning`."""

MADE_OF, PREDICTOR = "state/predicted.npz", "state/predictor.npz"
"""The inputs of the last fit, and its models."""


class Predictions(Stage):
    """Predicts each image's class with models that did not see it, or loads the user's predictions."""

    name = "predictions"
    files = ("predictions.npy", "label_quality.parquet")

    def __init__(self, fine_tuned: FineTuned) -> None:
        # Not imported here: it reads images, and a change of that code must not refit the models on embeddings.
        self._fine_tuned = fine_tuned

    def key(self, scan: Scan) -> str:
        """Return a digest of the pairs, the classes, and the code or the user's file."""
        how = [scan.options.predict, scan.options.finetune_pixels]
        return key_of(scan.state("pairs")["key"], scan.state("label_embeddings").get("key"), scan.classes, how, _code(scan.options))

    def run(self, scan: Scan) -> dict[str, object] | None:
        """Write the probabilities and the judgement of each label."""
        if why_none(scan) is not None:
            return None
        if scan.options.predictions is None:
            scan.record.rely_on(LABEL_EMBEDDINGS if scan.extra else "embeddings.npy")
        quality, facts = self._label_sets(scan) if scan.samples["labels"].notna().any() else self._labels(scan)
        write_table(scan.run / "label_quality.parquet", pa.Table.from_pandas(quality, LABEL_QUALITY, preserve_index=False))
        return facts

    def _labels(self, scan: Scan) -> tuple[pd.DataFrame, dict[str, object]]:
        """Write ``predictions.npy`` for images with one label each."""
        from audit.labels.quality import judge, label_codes

        options, record, rows = scan.options, scan.record, len(scan.samples)
        codes = label_codes(scan.samples["label"], scan.classes)
        before = {name: value for name, value in scan.state(self.name).items() if name not in ("state", "key")}
        backbones = [record.content["backbone"], *(extra.plan for extra in scan.extra)]
        plan = key_of(
            backbones, options.source.group_column, options.source.group_pattern, _code(options), scan.classes, options.seed, options.min_precision
        )
        if before.get("plan") == plan:
            record.is_sound("predictions.npy")  # else damaged rows would be reused
        record.begin(self)
        scan.observer.stage("predictions", rows)
        if options.predict == "finetune":
            facts = self._fine_tuned(scan, codes.astype(np.int32), _embeddings(scan))
        elif options.predictions is None:
            from audit.backbones.placement import own_device

            facts = fit_or_reuse(
                scan.run,
                _embeddings(scan),
                scan.images,
                codes.astype(np.int32),
                connected_sets(scan.pairs, rows, scan.samples["group"]),
                plan=plan,
                before=before,
                seed=options.seed,
                device=own_device(options.device),  # the images may have been embedded on another machine's
                observer=scan.observer,
            )
        else:
            from audit.predictions.user import load_predictions

            with filling(scan.run / "predictions.npy", (rows, len(scan.classes)), np.float32) as into:
                found = load_predictions(options.predictions, scan.samples["sample_id"].tolist(), scan.classes, codes, into=into)
            codes[np.isin(codes, [scan.classes.index(name) for name in found.record["unknown_classes"]])] = -1
            facts = dict(found.record)
            del found, into  # a mapped table without references no longer counts as memory
        supplied = options.predictions is not None
        judged = judge(open_rows(scan.run, "predictions", rows), codes, scan.pairs, images=scan.images, supplied=supplied)
        return judged.table, facts | judged.facts(scan.classes)

    def _label_sets(self, scan: Scan) -> tuple[pd.DataFrame, dict[str, object]]:
        """Write ``predictions.npy`` for images with several labels each."""
        from audit.labels.conflicts import disagreeing_duplicate_sets
        from audit.labels.sets import judge_label_sets, membership, set_codes, sets_of_labels

        options, rows = scan.options, len(scan.samples)
        if options.predict == "finetune":
            raise ConfigError("--predict finetune", "images of this dataset have several labels each", "use --predict embeddings")
        labels = sets_of_labels(scan.samples)
        given = membership(labels, scan.classes)
        scan.record.begin(self)
        scan.observer.stage("predictions", rows)
        with filling(scan.run / "predictions.npy", (rows, len(scan.classes)), np.float32) as into:
            if options.predictions is None:
                from audit.predictions.multilabel import out_of_sample_sets

                embeddings, groups = _embeddings(scan), connected_sets(scan.pairs, rows, scan.samples["group"])
                found = out_of_sample_sets(embeddings, given, groups, images=scan.images, seed=options.seed, into=into, advance=scan.observer.advance)
            else:
                from audit.predictions.user import load_predictions

                found = load_predictions(options.predictions, scan.samples["sample_id"].tolist(), scan.classes, several=True, into=into)
        facts = dict(found.record)
        del found, into  # a mapped table without references no longer counts as memory
        disagreeing = disagreeing_duplicate_sets(scan.pairs, set_codes(labels))
        return judge_label_sets(open_rows(scan.run, "predictions", rows), given, disagreeing), facts


def _embeddings(scan: Scan) -> npt.NDArray[np.float16]:
    """Map the embeddings of all backbones, side by side."""
    rows = len(scan.samples)
    return open_array(scan.run / LABEL_EMBEDDINGS, rows, kind="f", dimensions=2) if scan.extra else open_rows(scan.run, "embeddings", rows)


def why_none(scan: Scan) -> str | None:
    """Return why this scan needs no predictions or cannot make them; None if it makes them."""
    samples, several = scan.samples, scan.samples["labels"].notna()
    if not scan.classes:
        return "no labels in this dataset"
    if len(scan.classes) == 1:
        return f"all labelled images have the same class, {scan.classes[0]!r}"
    if scan.options.predictions is None:
        judged = (samples["outcome"] == "ok") & (samples["label"].notna() | several)
        groups = pd.Series(connected_sets(scan.pairs, len(samples), samples["group"]))[judged]
        if several.any():
            if groups.nunique() < 2:
                return "all labelled images are duplicates of each other or in one group"
        elif (groups.groupby(samples["label"][judged]).nunique() >= 2).sum() < 2:
            what = "groups" if samples["group"].notna().any() else "images"
            return f"fewer than two classes have two distinct {what}, and a class is judged by its other {what}"
    if not any({"predictions", "label_quality"} & set(check.needs) for check in scan.checks.values()):
        return "no selected check needs predictions"
    return None


def notes(scan: Scan) -> Iterator[str]:
    """Yield what the user should know about the predictions of a finished scan."""
    if scan.options.predictions is not None and (reason := why_none(scan)):
        yield f"--predictions is not used: {reason}"
    for warning in scan.state("predictions").get("warnings", ()):
        yield f"predictions: {warning}"


def _code(options: ScanOptions) -> str:
    """Return a digest of the code that makes predictions, and of the user's file. Raises AuditError if that cannot be read."""
    if options.predictions is None:
        return code_digest(__name__, *(["audit.predictions.finetune"] if options.predict == "finetune" else ()))
    try:
        with Path(options.predictions).open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AuditError(
            options.predictions, f"cannot be read: {error.strerror}", "pass a .npy, .parquet or .csv file of class probabilities"
        ) from None
    return key_of(content, code_digest("audit.predictions.user", "audit.labels.quality", "audit.labels.sets"))


def fit_or_reuse(  # noqa: PLR0913  a fit has that many inputs
    run: Path,
    embeddings: npt.NDArray[np.float16],
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
    """Write ``predictions.npy`` and what a later scan needs to reuse them.

    Args:
        run: the run directory.
        embeddings: float16 ``[n, d]``; NaN rows for none.
        images: ``[n]`` the content that each embedding was computed from; empty if there is none.
        labels: ``[n]`` class codes; -1 = unlabelled.
        groups: ``[n]``; images in one connected set of duplicates share a number.
        plan: digest of everything that predictions depend on besides the images; if it differs, all models are fitted again.
        before: the facts that the last scan returned; empty if there are none.
        seed: decides folds and models.
        device: where the networks are fitted, as PyTorch names it.
        observer: receives the progress.

    Returns:
        Facts for the run's record.
    """
    readable = int((images != b"").sum())
    has_fit = {"changed_since_fit", "not_judged"} <= before.keys() and (run / MADE_OF).is_file() and (run / PREDICTOR).is_file()
    if before.get("plan") == plan and readable >= FROM_ROWS and has_fit:
        try:
            known, predictor, old_row = _last_fit(run, images, int(before["changed_since_fit"]))
        except RunError as error:
            observer.note(f"label predictions: {error.where}: {error.problem}; all models are fitted again")
        else:
            changed = count_changed(known, old_row, labels, readable)
            if changed <= MAX_CHANGED * readable:
                with filling(run / "predictions.npy", (len(images), known.probabilities.shape[1]), np.float32) as into:
                    updated = update(known, predictor, old_row, embeddings, groups, into)
                _store(run, images, labels, updated.fold)
                observer.note(f"label predictions: the models of the last full fit judge {updated.predicted:,} new images")
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


def _last_fit(run: Path, images: npt.NDArray[np.bytes_], changed: int) -> tuple[Fitted, Predictor, npt.NDArray[np.int64]]:
    """Read the last scan's fit; also return each row's position in it, -1 if its content is new. Raises RunError if a file is damaged."""
    stored = read_arrays(run / MADE_OF, "of", "labels", "fold")
    of = stored["of"]
    known = Fitted(open_rows(run, "predictions", len(of)), stored["fold"], stored["labels"], int((of != b"").sum()), changed)
    return known, load_predictor(run / PREDICTOR), old_rows(of, images)


def _store(run: Path, images: npt.NDArray[np.bytes_], labels: npt.NDArray[np.int32], fold: npt.NDArray[np.int8]) -> None:
    with replacing(run / MADE_OF) as file:
        np.savez(file, allow_pickle=False, of=images, labels=labels, fold=fold)
