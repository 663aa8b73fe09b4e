import itertools

import pytest

from audit.pipeline.code_digest import code_digest

NAMES = (f"digested_package_{number}" for number in itertools.count())


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write a package under a new name each time, as imported modules stay imported."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(**files):
        name = next(NAMES)
        for module, source in {"__init__": "", **files}.items():
            path = tmp_path / name / f"{module}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(source.format(name=name))
        return name

    return write


def sources(**changed):
    return {
        "a": "from {name}.b import f\n",
        "b": "def f():\n    from . import c\n    return c\n",
        "c": "X = 1\n",
        "types": "Y = 1\n",
        "other": "Z = 1\n",
    } | changed


def test_the_same_sources_give_the_same_digest(package):
    name = package(**sources())
    assert code_digest(f"{name}.a") == code_digest(f"{name}.a")
    assert code_digest(f"{name}.a") != code_digest(f"{name}.b")


@pytest.mark.parametrize("module", ["a", "b", "c"])
def test_follows_imports_also_inside_functions(package, tmp_path, module):
    from audit.pipeline.code_digest import _module

    name = package(**sources())
    before = code_digest(f"{name}.a")
    path = tmp_path / name / f"{module}.py"
    path.write_text(path.read_text() + "# changed\n")
    _module.cache_clear()  # as in a new process
    assert code_digest(f"{name}.a") != before


@pytest.mark.parametrize("source", ["from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from {name} import other\n", "import json\n"])
def test_types_and_other_packages_do_not_count(package, tmp_path, source):
    from audit.pipeline.code_digest import _module

    name = package(**sources(a=source))
    before = code_digest(f"{name}.a")
    (tmp_path / name / "other.py").write_text("Z = 2\n")
    _module.cache_clear()
    assert code_digest(f"{name}.a") == before


@pytest.mark.parametrize("name", ["no_such_module", "audit.no_such_module", "audit.no_such_package.module"])
def test_an_unknown_module_is_an_error(name):
    with pytest.raises(ModuleNotFoundError, match="no_such"):
        code_digest("audit.errors", name)


def test_digest_of_predictions_covers_their_code():
    from audit.pipeline.code_digest import _module

    def reached(name, seen):
        if name not in seen:
            seen.add(name)
            for other in _module(name)[1]:
                reached(other, seen)
        return seen

    assert {"audit.predictions.probes", "audit.predictions.folds", "audit.predictions.calibration"} <= reached(
        "audit.predictions.out_of_sample", set()
    )
    assert {"audit.labels.noise", "audit.pairs.duplicate_sets"} <= reached("audit.labels.quality", set())
    assert {"audit.labels.statistics", "audit.pairs.duplicate_sets"} <= reached("audit.checks.label_errors", set())
