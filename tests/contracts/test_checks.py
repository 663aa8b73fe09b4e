"""Rules for every check. Checks are discovered, so new ones are tested without another line."""

import ast
import inspect
import json
import re
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from audit.checks import Missing, Skipped, discover
from audit.labels.quality import judge_labels, label_codes
from audit.pipeline.check_execution import run_check
from audit.run.findings import to_table
from audit.tables import FINDINGS, OUTCOMES, PAIRS, RELATIONS, SAMPLES, SEVERITIES

CHECKS = discover()
LOST = {"archive": "a.tar", "start": 9, "bytes": 9, "places": 1}
HERE = Path(__file__).resolve().parents[2]


def world(n, seed=0, **same):
    """Return every table of a synthetic run with all kinds of problems."""
    rng = np.random.default_rng(seed)
    rows, families = [], ["gps/exif", "date/xmp", "owner", "thumbnail/exif"]
    for at in range(n):
        bad = rng.random() < 0.05
        row = {
            "sample_id": f"x/{at}.jpg",
            "source_ref": "",
            "fingerprint": "",
            "split": str(rng.choice(["train", "val", "test"])),
            "label": f"class {rng.integers(3)}" if rng.random() < 0.95 else None,
            "content_id": f"{at - at % 7 if at % 5 == 0 else at:064x}",
            "outcome": str(rng.choice(OUTCOMES[1:])) if bad else "ok",
            "error": "broken\n<b>" if bad else None,
        }
        if not bad:
            row |= {
                "byte_size": 1000,
                "format": str(rng.choice(["JPEG", "PNG"])),
                "mode": str(rng.choice(["RGB", "CMYK", "L"])),
                "width": int(rng.choice([500, 500, 500, 20])),
                "height": int(rng.choice([400, 400, 400, 30])),
                "frames": 1,
                "orientation": int(rng.choice([1, 1, 1, 6])),
                "has_alpha": bool(rng.random() < 0.1),
                "exif_families": [family for family in families if rng.random() < 0.2],
                **({"camera": "ACME 1", "day_code": 7} if row["label"] == "class 0" and rng.random() < 0.5 else {}),
                "encoder": str(rng.choice(["quality 75", "table 0a1b2c3d, progressive"])),
                "pixel_id": f"{at:032x}",
                "perceptual_hash": int(rng.integers(2**62)),
                **{name: float(rng.beta(8, 8)) for name in ("brightness", "luma_p01", "luma_p99", "contrast", "chroma")},
                "sharpness": max(float(rng.normal(3, 0.8)), 0.0),
                "entropy": float(rng.uniform(0, 8)),
                "embedding_norm": 1.0,
            }
        rows.append(row | same)
    samples = pa.Table.from_pylist(rows, SAMPLES).to_pandas()
    vectors = rng.normal(size=(n, 8)).astype(np.float32)
    vectors[: n // 2, 0] += 4
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ok = (samples["outcome"] == "ok").to_numpy(bool)
    return assemble(samples, vectors, ok, rng)


def assemble(samples, vectors, ok, rng):
    n = len(samples)
    cosine = vectors @ vectors.T
    cosine[~ok] = cosine[:, ~ok] = np.nan
    np.fill_diagonal(cosine, np.nan)
    neighbors, similarities = np.full((n, 5), -1, np.int32), np.full((n, 5), np.nan, np.float32)
    for row in range(n):
        order = [other for other in np.argsort(-cosine[row], kind="stable") if np.isfinite(cosine[row, other])][:5]
        neighbors[row, : len(order)], similarities[row, : len(order)] = order, cosine[row, order]
    pairs, good = [], np.flatnonzero(ok).tolist()
    for at in range(0, len(good) - 2, 3):
        for i, j in [(good[at], good[at + 1]), (good[at], good[at + 2])]:
            relation = str(rng.choice(RELATIONS))
            pairs.append({"i": i, "j": j, "relation": relation, "score": float(rng.uniform(0.5, 1)), "group": i, "evidence": "{}"})
    classes = sorted(samples["label"].dropna().unique())
    predictions: object = Missing("no labels in this dataset")
    quality: object = predictions
    if classes:
        predictions = rng.dirichlet(np.ones(len(classes)), n).astype(np.float32)
        predictions[~ok] = np.nan
        quality = judge_labels(predictions, label_codes(samples["label"], classes), pa.Table.from_pylist(pairs, PAIRS).to_pandas())
    return {
        "samples": samples,
        "pairs": pa.Table.from_pylist(pairs, PAIRS).to_pandas(),
        "neighbors": neighbors,
        "similarities": similarities,
        "embeddings": np.where(ok[:, None], vectors, np.nan).astype(np.float16),
        "thumbnails": np.where(ok[:, None, None, None], rng.integers(0, 256, (n, 8, 8, 3)), 0).astype(np.uint8),
        "predictions": predictions,
        "label_quality": quality,
        "faces": faces_of(samples, rng),
        "encode_text": texts_on_axes,
        "classes": classes,
        "class_words": dict.fromkeys(classes, "words"),
        "listing_problems": [
            {"kind": "not_listed", "severity": "error", "message": "9 bytes of a.tar are lost; fetch it again.", "evidence": LOST},
            {"kind": "behind_end_mark", "severity": "warning", "message": "a.tar goes on; create it again.", "evidence": {"archive": "a.tar"}},
        ],
    }


def texts_on_axes(texts):
    """Stand in for a text tower: equal texts have the same axis."""
    return np.eye(8, dtype=np.float32)[[sum(text.encode()) % 8 for text in texts]]


def faces_of(samples, rng):
    rows = np.flatnonzero(((samples["outcome"] == "ok") & (rng.random(len(samples)) < 0.2)).to_numpy(bool))
    rows = np.sort(np.concatenate([rows, rows[::3]]))
    edges = rng.uniform(0, 0.5, (len(rows), 2))
    boxes = {"left": edges[:, 0], "top": edges[:, 1], "right": edges[:, 0] + 0.3, "bottom": edges[:, 1] + 0.4}
    return pd.DataFrame({"row": rows, **boxes, "confidence": rng.uniform(0.2, 1, len(rows))}).astype({"row": np.int32})


def permuted(tables, order):
    """Return the same run with its samples in another order."""
    new_row = np.argsort(order)
    old = tables["pairs"]
    i, j = new_row[old["i"]], new_row[old["j"]]
    pairs = old.assign(i=np.minimum(i, j).astype(np.int32), j=np.maximum(i, j).astype(np.int32), group=new_row[old["group"]].astype(np.int32))
    moved = {name: tables[name][order] for name in ("similarities", "embeddings", "thumbnails")}
    neighbors = tables["neighbors"][order]
    predictions, quality = tables["predictions"], tables["label_quality"]
    return {
        **tables,
        **moved,
        "samples": tables["samples"].iloc[order].reset_index(drop=True),
        "pairs": pairs.sort_values(["i", "j"]).reset_index(drop=True),
        "faces": tables["faces"].assign(row=new_row[tables["faces"]["row"]].astype(np.int32)).sort_values("row", kind="stable"),
        "neighbors": np.where(neighbors >= 0, new_row[neighbors], -1).astype(np.int32),
        "predictions": predictions if isinstance(predictions, Missing) else predictions[order],
        "label_quality": quality if isinstance(quality, Missing) else quality.iloc[order].reset_index(drop=True),
    }


def outcome_of(check, tables):
    """Run a check, assert that its result is valid, and return it with its table of findings."""
    result = run_check(check, tables)
    if isinstance(result, Skipped):
        assert result.reason.strip()
        return result, None
    n = len(tables["samples"])
    assert result.scores.shape == (n,)
    assert result.scores.dtype == np.float32
    assert (np.isnan(result.scores) | ((result.scores >= 0) & (result.scores <= 1))).all()
    table = to_table(check, result, tables["samples"])
    assert table.schema.equals(FINDINGS)
    ids = table["finding_id"].to_pylist()
    assert len(set(ids)) == len(ids)
    for row in table.to_pylist():
        assert row["severity"] in SEVERITIES
        assert any(fnmatchcase(row["kind"], kind) for kind in check.kinds), row["kind"]
        assert row["message"].isprintable()
        # What is wrong, then what to do; or a question.
        assert re.search(r"\S(; \w|\. [A-Z]).*\.$|\?$", row["message"]), row["message"]
        assert json.loads(row["evidence"], parse_constant=pytest.fail)
    return result, table


CASES = {
    "many": lambda: world(150),
    "empty": lambda: world(0),
    "one image": lambda: world(1),
    "three images": lambda: world(3),
    "one class": lambda: world(60, label="a"),
    "one split": lambda: world(60, split="train"),
    "no labels, no splits": lambda: world(60, label=None, split=None),
    "all failed": lambda: world(20, outcome="unreadable", format=None, mode=None),
    "all identical": lambda: world(30, content_id="0" * 64, sharpness=3.0, entropy=7.0, outcome="ok", format="JPEG", mode="RGB", width=9, height=9),
    "several labels": lambda: world(60, label=None, labels=["a", "b"]),
    "hostile names": lambda: world(60, label="a\n\x1b[31m<script>\u202e{0}%s"),
}


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("case", CASES)
def test_any_dataset_has_valid_scores_or_a_skip_reason(name, case):
    outcome_of(CHECKS[name], CASES[case]())


@pytest.mark.parametrize("name", CHECKS)
def test_order_of_samples_does_not_matter(name):
    tables = world(150, seed=3)
    order = np.random.default_rng(0).permutation(150)
    first, table = outcome_of(CHECKS[name], tables)
    second, again = outcome_of(CHECKS[name], permuted(tables, order))
    if isinstance(first, Skipped):
        assert first == second
        return
    np.testing.assert_allclose(second.scores, first.scores[order], rtol=1e-5, atol=1e-6)
    assert sorted(table["finding_id"].to_pylist()) == sorted(again["finding_id"].to_pylist())


@pytest.mark.parametrize("name", CHECKS)
def test_same_input_has_same_bytes(name):
    first, table = outcome_of(CHECKS[name], world(150))
    second, again = outcome_of(CHECKS[name], world(150))
    if table is None:
        assert first == second
        return
    assert first.scores.tobytes() == second.scores.tobytes()
    assert table.equals(again)


@pytest.mark.parametrize("name", CHECKS)
def test_inputs_are_not_changed(name):
    tables, before = world(100), world(100)
    outcome_of(CHECKS[name], tables)
    for key, table in before.items():
        if isinstance(table, pd.DataFrame):
            pd.testing.assert_frame_equal(tables[key], table)
        elif isinstance(table, np.ndarray):
            np.testing.assert_array_equal(tables[key], table)
        else:
            assert tables[key] == table


def keys_of(value, entries):
    """Return the keys of evidence and of all mappings in it, except names from the dataset such as labels."""
    if isinstance(value, list):
        return set().union(*(keys_of(entry, entries) for entry in value))
    if not isinstance(value, dict):
        return set()
    inside = [
        keys_of(list(entry.values()) if isinstance(entry, dict) and key in entries and entries[key].by_name else entry, entries)
        for key, entry in value.items()
    ]
    return set(value).union(*inside)


def written_keys(module):
    """Return keys in a check's source: of dicts passed as ``evidence=``, assigned to that name or returned by ``_evidence``."""
    values = []
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if (isinstance(node, ast.keyword) and node.arg == "evidence") or (
            isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign)
            and any(getattr(target, "id", None) == "evidence" for target in getattr(node, "targets", [getattr(node, "target", None)]))
        ):
            values.append(node.value)
        elif isinstance(node, ast.FunctionDef) and node.name == "_evidence":
            values += [inner.value for inner in ast.walk(node) if isinstance(inner, ast.Return)]
    dicts = [node for value in values if value is not None for node in ast.walk(value) if isinstance(node, ast.Dict)]
    return {key.value for node in dicts for key in node.keys if isinstance(key, ast.Constant)}


@pytest.mark.parametrize("name", CHECKS)
def test_every_key_of_the_evidence_has_a_title(name):
    check = CHECKS[name]
    keys = written_keys(sys.modules[check.run.__module__])
    for case in ("many", "several labels", "all failed"):
        _, table = outcome_of(check, CASES[case]())
        keys |= {key for row in (table.to_pylist() if table is not None else []) for key in keys_of(json.loads(row["evidence"]), check.evidence)}
    assert not keys - set(check.evidence) - {"partner"}
    assert all(entry.title[0].isupper() for entry in check.evidence.values())


@pytest.mark.parametrize("name", CHECKS)
def test_docs_page_explains_the_evidence_and_the_options(name):
    page = HERE / "docs" / "checks" / f"{name}.md"
    assert page.is_file(), f"write {page}"
    text = page.read_text(encoding="utf-8")
    words = {*CHECKS[name].evidence, *getattr(CHECKS[name].options, "__dataclass_fields__", {})}
    assert not {word for word in words if f"`{word}`" not in text}


@pytest.mark.parametrize("name", CHECKS)
def test_docs_page_names_the_kinds(name):
    text = (HERE / "docs" / "checks" / f"{name}.md").read_text(encoding="utf-8")
    assert CHECKS[name].kinds
    assert not {kind for kind in CHECKS[name].kinds if "*" not in kind and f"`{kind}`" not in text}
    table = re.search(r"^\| kind \|.*\n(?:\|.*\n)+", text, re.MULTILINE)
    named = {kind for row in table[0].splitlines()[2:] for kind in re.findall(r"`(\w+)`", row.split("|")[1])} if table else set()
    assert not {kind for kind in named if not any(fnmatchcase(kind, known) for known in CHECKS[name].kinds)}


@pytest.mark.parametrize("name", CHECKS)
def test_has_a_test_file(name):
    assert (HERE / "tests" / "checks" / f"test_{name}.py").is_file()
