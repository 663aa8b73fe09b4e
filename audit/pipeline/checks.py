"""The checks' part of a scan: which are wanted, which have run on the same tables with the same code before, and what they found."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from audit.backbones import text_tower
from audit.config import ScanOptions, check_options
from audit.errors import ConfigError, nearest
from audit.io.artifacts import release, write_array, write_table
from audit.io.progress import Observer
from audit.pipeline.code_digest import code_digest
from audit.run.findings_index import ROWS_TOGETHER
from audit.run.record import Record, key_of
from audit.run.run import Run
from audit.taxonomy import Taxonomy

if TYPE_CHECKING:
    from audit.checks import Check


def wanted_checks(options: ScanOptions) -> dict[str, Check]:
    """Return the checks to run. Raises ConfigError where one is asked for that there is none of, or an option that it does not have."""
    from audit.checks import discover

    known = discover()
    for place, names in (("only", options.only), ("skip", options.skip), ("checks", options.checks)):
        for name in names:
            if name not in known:
                raise ConfigError(place, f"unknown check {name!r}", nearest(name, known))
    for name, given in options.checks.items():
        for option in given:
            if option not in check_options(known[name].options):
                raise ConfigError(f"checks.{name}", f"unknown option {option!r}", nearest(option, check_options(known[name].options)))
        _options_of(known[name], options)
    return {name: check for name, check in known.items() if name not in options.skip and (not options.only or name in options.only)}


def run_checks(
    run: Path,
    samples: pd.DataFrame,
    checks: dict[str, Check],
    predictions: Any,
    options: ScanOptions,
    record: Record,
    inputs: tuple[str, str | None],
    observer: Observer,
) -> None:
    """Run the checks that have not run on these inputs: the key of all tables but the faces, and that of the faces where they were looked for."""
    from audit.checks import Skipped
    from audit.pipeline.check_execution import run_check
    from audit.run.findings import to_table

    before = record.content.get("checks", {})
    tables_key, faces_key = inputs
    of_code = {name: (record.content["version"], code_digest(check.run.__module__)) for name, check in checks.items()}
    keys = {name: key_of(tables_key, options.checks.get(name, {}), *of_code[name]) for name in checks}
    keys |= {name: key_of(keys[name], faces_key) for name, check in checks.items() if "faces" in check.needs}
    todo = [name for name, key in keys.items() if before.get(name, {}).get("key") != key or not _kept(record, name, before[name])]
    record.content["checks"] = {name: before[name] for name in checks if name not in todo}
    if not todo:
        return
    needed = {need for name in todo for need in (*checks[name].needs, *checks[name].optional_needs)}
    arrays = ("embeddings", "thumbnails", "neighbors", "similarities", *(("predictions",) if predictions is None else ()))
    record.rely_on(*(f"{array}.npy" for array in arrays if array in needed))
    record.save()
    for folder in ("scores", "findings"):
        (run / folder).mkdir(exist_ok=True)
    observer.stage("checks", len(todo))
    tables = _tables(run, samples, predictions, record, faces=faces_key is not None)
    for name in todo:
        began = time.perf_counter()
        result = run_check(checks[name], tables, _options_of(checks[name], options))
        if isinstance(result, Skipped):
            state: dict[str, Any] = {"state": "skipped", "reason": result.reason, "findings": 0}
        else:
            findings = to_table(checks[name], result, samples)
            write_array(run / "scores" / f"{name}.npy", result.scores)
            write_table(run / "findings" / f"{name}.parquet", findings, rows_together=ROWS_TOGETHER)
            record.wrote(*_files_of(name))
            state = {"state": "done", "reason": None, "findings": len(findings)}
        release(*tables.values())
        record.content["checks"][name] = {**state, "key": keys[name], "seconds": round(time.perf_counter() - began, 3)}
        observer.advance(1)
    record.content["checks"] = dict(sorted(record.content["checks"].items()))
    for folder in ("scores", "findings"):  # of checks that no longer run
        for path in (run / folder).iterdir():
            if record.content["checks"].get(path.stem, {}).get("state") != "done":
                path.unlink()
    record.save()


def _kept(record: Record, name: str, state: dict[str, Any]) -> bool:
    run = record.path.parent
    if state["state"] == "skipped":
        return True
    return all((run / file).is_file() for file in _files_of(name)) and record.look_unchanged(*_files_of(name))


def _files_of(check: str) -> tuple[str, str]:
    return f"scores/{check}.npy", f"findings/{check}.parquet"


def _options_of(check: Check, options: ScanOptions) -> Any:
    given = options.checks.get(check.name, {})
    try:
        return None if check.options is None else check.options(**given)
    except ConfigError as error:
        raise ConfigError(f"{check.name}.{error.where}", error.problem, error.hint) from None


def _tables(run: Path, samples: pd.DataFrame, predictions: Any, record: Record, *, faces: bool) -> dict[str, Any]:
    """Return the tables a check may ask for by name."""
    from audit.checks import Missing

    opened = Run(run)
    no_text = Missing(f"the backbone {record.content['backbone']['name']} has no text tower: scan with --backbone clip")
    return {
        "samples": samples,
        "pairs": opened.pairs,
        "neighbors": opened.neighbors,
        "similarities": opened.similarities,
        "embeddings": opened.embeddings,
        "thumbnails": opened.thumbnails,
        "predictions": opened.predictions if predictions is None else predictions,
        "label_quality": opened.label_quality if predictions is None else predictions,
        "faces": opened.faces if faces else Missing("faces are looked for only when asked: scan with --faces"),
        "encode_text": text_tower(record.content) or no_text,
        "classes": record.content["classes"],
        "class_words": record.content["class_words"],
        "taxonomy": Taxonomy(**record.content["taxonomy"]),
        "listing_problems": record.content["source"]["problems"],
    }
