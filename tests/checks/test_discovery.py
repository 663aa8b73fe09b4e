import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from audit.checks import Check, Missing, Result, Skipped, discover
from audit.checks.base import Finding, read_check
from audit.errors import AuditError
from audit.pipeline.check_execution import run_check

DOCS = Path(__file__).resolve().parents[2] / "docs" / "writing-a-check.md"


def module_of(source, name="made_up"):
    module = ModuleType(name)
    module.__file__ = f"/somewhere/{name}.py"
    sys.modules[name] = module  # dataclasses look their module up
    try:
        exec(source, module.__dict__)
    finally:
        del sys.modules[name]
    return module


def check_of(run, **changes):
    given = {"name": "c", "title": "t", "needs": ("samples",), "optional_needs": (), "options": None, "run": run, "origin": "c.py"}
    return Check(**{**given, **changes})


def test_discovered_checks_are_sorted_and_described():
    checks = discover()
    assert list(checks) == sorted(checks)
    assert {"integrity", "leakage", "image_quality"} <= set(checks)
    assert "base" not in checks
    for name, check in checks.items():
        assert check.name == name
        assert check.title.endswith(".")
        assert Path(check.origin).is_file()


def test_needs_are_parameters():
    check = read_check("c", module_of('"""Title.\n\nMore."""\ndef run(samples, pairs, neighbors=None): pass'))
    assert (check.title, check.needs, check.optional_needs, check.options) == ("Title.", ("samples", "pairs"), ("neighbors",), None)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ('"""T."""', "needs a function 'run'"),
        ("def run(samples): pass", "has no docstring"),
        ('"""T."""\ndef run(sample): pass', "'sample', which is not a table; did you mean 'samples'"),
        ('"""T."""\ndef run(samples, pairs=3): pass', "a default"),
        ('"""T."""\ndef run(samples, *, options): pass', "only one of 'Options' and the parameter"),
        ('"""T."""\nclass Options: pass\ndef run(samples): pass', "only one of 'Options' and the parameter"),
        ('"""T."""\nclass Options: pass\ndef run(samples, *, options): pass', "frozen dataclass"),
        ('"""T."""\nFAMILY = "label"\ndef run(samples): pass', "unknown FAMILY 'label'; did you mean 'labels'"),
        ('"""T."""\nEVIDENCE = {"size": "Size"}\ndef run(samples): pass', "not an Evidence"),
    ],
)
def test_refuses_invalid_module(source, problem):
    with pytest.raises(AuditError, match=problem) as caught:
        read_check("c", module_of(source))
    assert caught.value.where == "/somewhere/made_up.py"


def test_missing_tables_skip_or_are_none(samples_of):
    tables = {"samples": samples_of([{}]), "predictions": Missing("no labels in this dataset")}
    assert run_check(check_of(None, needs=("samples", "predictions")), tables) == Skipped("no labels in this dataset")
    seen = {}
    run_check(check_of(lambda **given: seen.update(given) or Result(np.zeros(1)), optional_needs=("predictions",)), tables)
    assert seen["predictions"] is None


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (None, "returned NoneType"),
        (Result(np.zeros(2, np.float32)), r"shape \(2,\) for 1"),
        (Result(np.array([1.5])), "score 1.5"),
        (Result(np.array([np.inf])), "score inf"),
        (Result(np.zeros(1), [Finding(kind="k", score=float("nan"), message="m")]), "score nan"),
        (Result(np.zeros(1), [Finding(kind="k", score=0, message="m", severity="bad")]), "severity 'bad'"),
        (Result(np.zeros(1), [Finding(kind="k", score=0, message="m", row=1)]), "row 1 of 1"),
    ],
)
def test_refuses_invalid_results(samples_of, answer, problem):
    with pytest.raises(AuditError, match=f"check c .*{problem}.*--skip c"):
        run_check(check_of(lambda samples: answer), {"samples": samples_of([{}])})


def test_tables_cannot_be_changed(samples_of):
    tables = {"samples": samples_of([{}, {}]), "neighbors": np.zeros((2, 1), np.int32)}

    def write(samples, neighbors):
        samples["label"] = "changed"
        with pytest.raises(ValueError, match="read-only"):
            neighbors[0] = 1
        return Result(np.zeros(2))

    run_check(check_of(write, needs=("samples", "neighbors")), tables)
    assert set(tables["samples"]["label"]) == {"cat"}


def test_exception_names_the_check(samples_of):
    def fail(samples):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        run_check(check_of(fail), {"samples": samples_of([{}])})
    assert caught.value.__notes__ == ["in the check c (c.py)"]


def test_documented_example_is_a_check(samples_of):
    source = re.search(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL).group(1)
    check = read_check("heavy", module_of(source))
    samples = samples_of([{"byte_size": 100, "width": 10, "height": 10}, {"byte_size": 400, "width": 10, "height": 10}, {"width": None}])
    result = run_check(check, {"samples": samples})
    assert [(finding.row, finding.kind) for finding in result.findings] == [(1, "heavy")]
    assert np.isnan(result.scores[2])
    assert not run_check(check, {"samples": samples}, check.options(bytes_per_pixel=5)).findings
