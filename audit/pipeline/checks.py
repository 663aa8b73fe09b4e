"""Checks: run the selected checks whose tables, options or code have changed since their last result."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from audit.backbones import text_tower
from audit.checks import Missing, Skipped, discover
from audit.config import ScanOptions, check_options
from audit.errors import ConfigError, nearest
from audit.io.artifacts import release, write_array, write_table
from audit.io.console import safe
from audit.pipeline.check_execution import run_check
from audit.pipeline.code_digest import code_digest
from audit.pipeline.earlier_reports import TABLE, earlier_reports, store_reports
from audit.pipeline.predictions import why_none
from audit.pipeline.stage import Scan, Stage
from audit.run.findings import to_table
from audit.run.findings_index import ROWS_TOGETHER
from audit.run.record import Record, key_of
from audit.run.run import Run
from audit.taxonomy import Taxonomy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audit.checks import Check

FOLDERS = ("scores", "findings")
"""Where each check writes one file."""


def wanted_checks(options: ScanOptions) -> dict[str, Check]:
    """Return the selected checks by name. Raises ConfigError if the options name an unknown check or an unknown option of a check."""
    known = discover()
    for where, names in (("only", options.only), ("skip", options.skip), ("checks", options.checks)):
        for name in names:
            if name not in known:
                raise ConfigError(where, f"unknown check {name!r}", nearest(name, known))
    for name, given in options.checks.items():
        for option in given:
            if option not in check_options(known[name].options):
                raise ConfigError(f"checks.{name}", f"unknown option {option!r}", nearest(option, check_options(known[name].options)))
        _options_of(known[name], options)
    return {name: check for name, check in known.items() if name not in options.skip and (not options.only or name in options.only)}


class Checks(Stage):
    """Runs the checks; each check has its own key and its own entry in the record."""

    name = "checks"
    files = ()

    def run(self, scan: Scan) -> None:
        """Run the checks that are not current and write their scores and findings."""
        record = scan.record
        before, no_predictions = record.content.get("checks", {}), why_none(scan)
        keys = _keys(scan, no_predictions)
        todo = [name for name, key in keys.items() if before.get(name, {}).get("key") != key or not _is_kept(record, name, before[name])]
        record.content["checks"] = {name: before[name] for name in keys if name not in todo}
        if not todo:
            return
        _rely_on_arrays(scan, todo, predictions=no_predictions is None)
        record.save()
        for folder in FOLDERS:
            (scan.run / folder).mkdir(exist_ok=True)
        scan.observer.stage("checks", len(todo))
        tables = _tables(scan, no_predictions)
        for name in todo:
            began = time.perf_counter()
            state = _run(scan, scan.checks[name], tables)
            release(*tables.values())
            record.content["checks"][name] = {**state, "key": keys[name], "seconds": round(time.perf_counter() - began, 3)}
            scan.observer.advance(1)
        record.content["checks"] = dict(sorted(record.content["checks"].items()))
        for folder in FOLDERS:  # remove results of checks that no longer run
            for path in (scan.run / folder).iterdir():
                if record.content["checks"].get(path.stem, {}).get("state") != "done":
                    path.unlink()
        record.save()


def _keys(scan: Scan, no_predictions: str | None) -> dict[str, str]:
    """Return a digest per check of everything its result depends on."""
    content = scan.record.content
    printed = [content["class_words"], content["taxonomy"], content["source"]["problems"]]
    tables = key_of(scan.state("pairs")["key"], scan.state("predictions").get("key"), no_predictions, printed)
    keys = {}
    for name, check in scan.checks.items():
        keys[name] = key_of(tables, scan.options.checks.get(name, {}), content["version"], code_digest(check.run.__module__))
        if "faces" in check.needs:
            keys[name] = key_of(keys[name], scan.state("faces")["key"] if scan.wants_faces else None)
    return keys


def _rely_on_arrays(scan: Scan, names: list[str], *, predictions: bool) -> None:
    """Raise DamagedError if an array is damaged that one of some checks reads."""
    needed = {need for name in names for need in (*scan.checks[name].needs, *scan.checks[name].optional_needs)}
    arrays = ("embeddings", "thumbnails", "neighbors", "similarities", *(("predictions",) if predictions else ()))
    scan.record.rely_on(*(f"{array}.npy" for array in arrays if array in needed))


def _run(scan: Scan, check: Check, tables: Mapping[str, Any]) -> dict[str, Any]:
    """Run one check and write its files; return its state for the record."""
    steady, key = TABLE in check.optional_needs, key_of(scan.options.checks.get(check.name, {}), scan.plan, [extra.plan for extra in scan.extra])
    before = {TABLE: earlier_reports((scan.baseline, scan.run), scan.samples, scan.images, check.name, key)} if steady else {}
    result = run_check(check, {**tables, **before}, _options_of(check, scan.options))
    if isinstance(result, Skipped):
        return {"state": "skipped", "reason": result.reason, "findings": 0}
    findings = to_table(check, result, scan.samples)
    scores_file, findings_file = _files_of(check.name)
    write_array(scan.run / scores_file, result.scores)
    write_table(scan.run / findings_file, findings, rows_together=ROWS_TOGETHER)
    scan.record.wrote(scores_file, findings_file)
    if steady:
        store_reports(scan.run, scan.samples, scan.images, check.name, key, result)
    return {"state": "done", "reason": None, "findings": len(findings), "kinds": list(check.kinds), "note": safe(result.note)}


def _is_kept(record: Record, name: str, state: dict[str, Any]) -> bool:
    """Return whether a check's files are as they were written."""
    files = _files_of(name)
    return state["state"] == "skipped" or (all((record.path.parent / file).is_file() for file in files) and record.look_unchanged(*files))


def _files_of(check: str) -> tuple[str, str]:
    scores, findings = FOLDERS
    return f"{scores}/{check}.npy", f"{findings}/{check}.parquet"


def _options_of(check: Check, options: ScanOptions) -> Any:
    given = options.checks.get(check.name, {})
    try:
        return None if check.options is None else check.options(**given)
    except ConfigError as error:
        raise ConfigError(f"{check.name}.{error.where}", error.problem, error.hint) from None


def _tables(scan: Scan, no_predictions: str | None) -> dict[str, Any]:
    """Return every table by the name of a check's parameter."""
    opened, content = Run(scan.run), scan.record.content
    no_text = Missing(f"the backbone {content['backbone']['name']} has no text tower: scan with --backbone clip")
    return {
        "samples": scan.samples,
        "pairs": scan.pairs,
        "neighbors": opened.neighbors,
        "similarities": opened.similarities,
        "embeddings": opened.embeddings,
        "thumbnails": opened.thumbnails,
        "predictions": Missing(no_predictions) if no_predictions else opened.predictions,
        "label_quality": Missing(no_predictions) if no_predictions else opened.label_quality,
        "faces": opened.faces if scan.wants_faces else Missing("faces are not detected by default: scan with --faces"),
        "encode_text": text_tower(content) or no_text,
        "classes": scan.classes,
        "class_words": content["class_words"],
        "taxonomy": Taxonomy(**content["taxonomy"]),
        "listing_problems": content["source"]["problems"],
    }
