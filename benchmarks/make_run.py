"""Write a run directory of any size in seconds, to measure its readers: reports, dashboard, exports.

Nothing is scanned: names, hashes, scores and findings are random, in the format and proportions of a real run. The images do not exist.

    python benchmarks/make_run.py /tmp/big-run                                  # 1,281,167 samples, 1,000 classes, 200,000 findings
    python benchmarks/make_run.py /tmp/small-run --samples 5000 --classes 20 --findings 800 --arrays
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import pyarrow as pa

from audit.io.artifacts import write_array, write_json, write_table
from audit.run.findings_index import ROWS_TOGETHER
from audit.run.ranking import ranked
from audit.tables import FINDINGS, OUTCOMES, PAIRS, SAMPLES, SCHEMA_VERSION, SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

SHARES = {
    ("label_errors", "wrong", "error"): 0.06,
    ("label_errors", "wrong", "warning"): 0.20,
    ("label_errors", "overlapping_classes", "info"): 0.18,
    ("label_errors", "unclear", "warning"): 0.04,
    ("near_duplicates", "re_encoded", "warning"): 0.12,
    ("near_duplicates", "edited_copy", "warning"): 0.03,
    ("exact_duplicates", "identical_bytes", "warning"): 0.05,
    ("leakage", "re_encoded", "error"): 0.03,
    ("conflicting_labels", "same_picture", "error"): 0.01,
    ("image_quality", "blurred", "warning"): 0.08,
    ("image_quality", "dark", "warning"): 0.03,
    ("image_quality", "grayscale", "info"): 0.05,
    ("outliers", "outlier", "warning"): 0.06,
    ("integrity", "odd_mode", "info"): 0.02,
    ("integrity", "truncated", "error"): 0.001,
    ("privacy", "gps", "warning"): 0.039,
}
"""(check, kind, severity) -> share of the findings."""

PAIRED = ("near_duplicates", "exact_duplicates", "leakage", "conflicting_labels")
"""Checks whose findings have a partner."""

SKIPPED = {"subgroups": "no column to group by in this dataset"}


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--samples", default=1_281_167, show_default=True)
@click.option("--classes", default=1000, show_default=True)
@click.option("--findings", default=200_000, show_default=True)
@click.option("--arrays", is_flag=True, help="Also embeddings, neighbors and similarities: about 2 GB for 1.28 million samples.")
@click.option("--predictions", is_flag=True, help="Also predictions: 4 bytes per sample and class.")
@click.option("--seed", default=0, show_default=True)
def main(out: Path, samples: int, classes: int, findings: int, seed: int, *, arrays: bool, predictions: bool) -> None:
    """Write a run directory OUT with random content."""
    began = time.perf_counter()
    make_run(out, samples=samples, classes=classes, findings=findings, seed=seed, arrays=arrays, predictions=predictions)
    print(f"{samples:,} samples and about {findings:,} findings in {out}: {time.perf_counter() - began:.1f} s")


def make_run(out: Path, *, samples: int, classes: int, findings: int, seed: int = 0, arrays: bool = False, predictions: bool = False) -> None:
    """Write a run directory; see `main`."""
    rng = np.random.default_rng(seed)
    for folder in ("findings", "scores"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    number = {key: round(share * findings) for key, share in SHARES.items()}
    flagged = {key: np.sort(rng.choice(samples, min(count, samples), replace=False)) for key, count in number.items()}
    partner = {key: (rows + 1 + rng.integers(0, samples - 1, len(rows))) % samples for key, rows in flagged.items() if key[0] in PAIRED}
    truncated = flagged["integrity", "truncated", "error"]
    split, of_class = class_labels(rng, samples, classes)
    content = np.array(random_hex(rng, samples, 64), object)
    copies = ("exact_duplicates", "identical_bytes", "warning")
    content[flagged[copies]] = content[partner[copies]]
    outcome = np.full(samples, "ok", object)
    outcome[truncated] = "truncated"
    table = samples_table(rng, split, of_class, {"content_id": content, "pixel_id": content, "outcome": outcome})
    write_table(out / "samples.parquet", table)
    names, hashes, splits, labels = (table[name].to_pylist() for name in ("sample_id", "content_id", "split", "label"))
    frames: dict[str, list[pa.Table]] = {}
    scores: dict[str, Any] = {}
    for key, rows in flagged.items():
        check = key[0]
        score = np.sort(rng.beta(2, 1, len(rows)).astype(np.float32))[::-1]
        order = rng.permutation(rows) if check not in PAIRED else rows
        frames.setdefault(check, []).append(_findings(rng, key, order, score, partner.get(key), (names, hashes, splits, labels), classes))
        every = scores.setdefault(check, rng.uniform(0, 0.3, samples).astype(np.float32))
        every[order] = np.maximum(every[order], score)
    frames["class_overlap"] = [_class_findings(rng, classes)]
    checks = {}
    for check, parts in frames.items():
        whole = ranked(pa.concat_tables(parts).to_pandas())
        write_table(out / "findings" / f"{check}.parquet", pa.Table.from_pandas(whole, FINDINGS, preserve_index=False), rows_together=ROWS_TOGETHER)
        write_array(out / "scores" / f"{check}.npy", scores.get(check, np.full(samples, np.nan, np.float32)))
        checks[check] = {"state": "done", "reason": None, "findings": len(whole), "seconds": 1.0}
    checks |= {check: {"state": "skipped", "reason": reason, "findings": 0, "seconds": 0.0} for check, reason in SKIPPED.items()}
    write_table(out / "pairs.parquet", _pairs(rng, flagged, partner))
    if arrays:
        _arrays(rng, out, samples)
    if predictions:
        write_array(out / "predictions.npy", rng.dirichlet(np.full(classes, 0.05), samples).astype(np.float32))
    failed = {"truncated": len(truncated)}
    write_json(
        out / "run.json",
        {
            "schema_version": SCHEMA_VERSION,
            "version": "0.1.0",
            "source": {"kind": "folder", "location": "/nowhere/drawn", "ignored": {}, "problems": []},
            "options": {"source": {}},
            "backbone": {"name": "embedded", "licence": "Apache-2.0", "device": "cpu", "precision": "float32", "reason": "drawn, not scanned"},
            "counts": {
                "listed": samples,
                "scanned": samples - len(truncated),
                "failed": len(truncated),
                "outcomes": dict.fromkeys(OUTCOMES, 0) | failed | {"ok": samples - len(truncated)},
            },
            "timings": {"ingest": 6300.0, "neighbors": 900.0, "pairs": 300.0, "predictions": 420.0},
            "stages": {},
            "classes": [label_of(index) for index in range(classes)],
            "checks": dict(sorted(checks.items())),
            "class_words": {label_of(index): f"word {index}" for index in range(classes)},
            "finished": True,
        },
    )


def label_of(index: int) -> str:
    """Return the synset id of a class."""
    return f"n{index:08}"


def random_hex(rng: np.random.Generator, number: int, characters: int) -> list[str]:
    """Return random hexadecimal digits."""
    text = rng.bytes(number * characters // 2).hex()
    return [text[at : at + characters] for at in range(0, len(text), characters)]


def class_labels(rng: np.random.Generator, number: int, classes: int) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Return a split per sample, with ImageNet's share in val, and a class per sample, sorted within a split like a folder listing."""
    in_val = number // 26
    of_class = np.concatenate([np.sort(rng.integers(0, classes, number - in_val)), np.sort(rng.integers(0, classes, in_val))])
    return ["train"] * (number - in_val) + ["val"] * in_val, of_class


def samples_table(rng: np.random.Generator, split: Sequence[str], of_class: npt.NDArray[np.int64], known: Mapping[str, Any]) -> pa.Table:
    """Return a table of ``audit.tables.SAMPLES`` of JPEG photos: columns not in ``known`` are random or null."""
    number, code = len(split), [label_of(index) for index in range(int(of_class.max()) + 1)]
    label = [code[index] for index in of_class.tolist()]
    sample_id = [f"{where}/{what}/{what}_{row:08}.JPEG" for row, (where, what) in enumerate(zip(split, label, strict=True))]
    measured = {
        "byte_size": rng.integers(20_000, 300_000, number),
        "width": rng.choice([500, 375, 640], number).astype(np.int32),
        "height": rng.choice([375, 500, 480], number).astype(np.int32),
        "perceptual_hash": rng.integers(0, 2**63, number, dtype=np.uint64),
    }
    measured |= {name: rng.uniform(0, 1, number).astype(np.float32) for name in ("brightness", "luma_p01", "luma_p99", "contrast", "chroma")}
    measured |= {"sharpness": rng.normal(2.5, 0.6, number).astype(np.float32), "entropy": rng.normal(7, 0.5, number).astype(np.float32)}
    columns: dict[str, Any] = measured | {
        "sample_id": sample_id,
        "source_ref": sample_id,
        "fingerprint": [str(row) for row in range(number)],
        "split": split,
        "label": label,
        "outcome": ["ok"] * number,
        "format": ["JPEG"] * number,
        "mode": ["RGB"] * number,
        "frames": np.ones(number, np.int32),
        "orientation": np.ones(number, np.int8),
        "has_alpha": np.zeros(number, bool),
    }
    columns |= known
    arrays = [pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(number, field.type) for field in SAMPLES]
    return pa.Table.from_arrays(arrays, schema=SAMPLES)


def _findings(
    rng: np.random.Generator,
    key: tuple[str, str, str],
    rows: np.ndarray[Any, Any],
    score: np.ndarray[Any, Any],
    partner: np.ndarray[Any, Any] | None,
    of_sample: Sequence[list[Any]],
    classes: int,
) -> pa.Table:
    check, kind, severity = key
    names, hashes, splits, labels = of_sample
    at = rows.tolist()
    number = len(at)
    other = [label_of(index) for index in rng.integers(0, classes, number).tolist()]
    suggested: list[str | None] = [*other] if check in ("label_errors", "conflicting_labels") and kind != "unclear" else [None] * number
    if partner is not None:
        message = [f"Same file as {names[with_]}. Keep one of the two." for with_ in partner.tolist()]
        evidence = [json.dumps({"certainty": 0.98, "partner": names[with_], "relation": kind}) for with_ in partner.tolist()]
        group = [hashes[with_][:16] for with_ in partner.tolist()]
    elif check == "label_errors":
        message = [f"Labelled {labels[row]!r}, but {what!r} fits better. Correct the label." for row, what in zip(at, other, strict=True)]
        evidence = [
            json.dumps(
                {
                    "copies": [],
                    "given_probability": 0.02,
                    "list_precision": [0.8, 0.7, 0.9],
                    "neighbors": [{"label": what, "sample_id": names[(row + step) % len(names)]} for step in range(1, 6)],
                    "probabilities": {what: 0.9, labels[row]: 0.02},
                    "probability_wrong": round(float(worth), 4),
                }
            )
            for row, what, worth in zip(at, other, score.tolist(), strict=True)
        ]
        group = [None] * number
    else:
        message = [f"Is {kind.replace('_', ' ')}: measured {worth:.2f}. Check it." for worth in score.tolist()]
        evidence = [json.dumps({"limit": 0.3, "measure": kind, "value": round(worth, 4)}) for worth in score.tolist()]
        group = [None] * number
    columns = {
        "finding_id": random_hex(rng, number, 16),
        "check": [check] * number,
        "kind": [kind] * number,
        "subject": ["sample"] * number,
        "severity": [severity] * number,
        "score": score,
        "sample_id": [names[row] for row in at],
        "content_id": [hashes[row] for row in at],
        "group_id": group,
        "split": [splits[row] for row in at],
        "label": [labels[row] for row in at],
        "suggested_label": suggested,
        "message": message,
        "evidence": evidence,
    }
    return pa.Table.from_pydict(columns, FINDINGS)


def _class_findings(rng: np.random.Generator, classes: int) -> pa.Table:
    rows = [
        dict.fromkeys(FINDINGS.names)
        | {
            "finding_id": identifier,
            "check": "class_overlap",
            "kind": "confused_pair",
            "subject": "class",
            "severity": SEVERITIES[at % 2],
            "score": 0.3,
            "label": label_of(at),
            "suggested_label": label_of((at + 1) % classes),
            "message": f"30% of the images labelled word {at} are predicted as word {(at + 1) % classes}. Compare the two classes.",
            "evidence": json.dumps({"confused": 300, "images": 1000, "share": 0.3, "share_back": 0.1, "share_interval": [0.27, 0.33]}),
        }
        for at, identifier in enumerate(random_hex(rng, max(classes // 10, 1), 16))
    ]
    return pa.Table.from_pylist(rows, FINDINGS)


def _pairs(rng: np.random.Generator, flagged: dict[Any, Any], partner: dict[Any, Any]) -> pa.Table:
    parts = []
    for key, others in partner.items():
        first, second = np.minimum(flagged[key], others), np.maximum(flagged[key], others)
        number = len(first)
        columns = {
            "i": first.astype(np.int32),
            "j": second.astype(np.int32),
            "relation": ["identical_bytes" if key[1] == "same_picture" else key[1]] * number,
            "score": rng.uniform(0.95, 1, number).astype(np.float32),
            "group": others.astype(np.int32),
            "cosine": rng.uniform(0.9, 1, number).astype(np.float32),
            "hamming": rng.integers(0, 8, number).astype(np.int16),
            "evidence": ['{"correlation": 0.99}'] * number,
        }
        parts.append(pa.Table.from_pydict(columns, PAIRS))
    return pa.concat_tables(parts)


def _arrays(rng: np.random.Generator, out: Path, samples: int, dimension: int = 512, k: int = 20) -> None:
    embeddings = rng.standard_normal((samples, dimension), np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    write_array(out / "embeddings.npy", embeddings.astype(np.float16))
    write_array(out / "neighbors.npy", ((np.arange(samples)[:, None] + np.arange(1, k + 1)) % samples).astype(np.int32))
    write_array(out / "similarities.npy", np.tile(np.linspace(0.95, 0.6, k, dtype=np.float32), (samples, 1)))


if __name__ == "__main__":
    main()
