import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from audit.errors import AuditError
from audit.io import plugins
from audit.io.plugins import CHECKS, COMMANDS, EXPORTS, GATE_FORMATS, REPORT_FORMATS, SOURCES, PluginFolder

FOLDERS = (CHECKS, SOURCES, EXPORTS, COMMANDS, GATE_FORMATS, REPORT_FORMATS)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A plug-in folder with two modules, ``base`` and a library."""
    for name in ("__init__.py", "base.py", "first.py", "second_one.py", "library/__init__.py"):
        path = tmp_path / "plugin_folder" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    monkeypatch.syspath_prepend(tmp_path)
    return PluginFolder("plug-in", f"imagenet_audit.{tmp_path.name}", "plugin_folder")


@pytest.fixture
def announce(monkeypatch):
    def announce(*entries):
        monkeypatch.setattr(plugins, "entry_points", lambda group: [EntryPoint(name, value, group) for name, value in entries])

    return announce


def test_every_module_but_base_is_a_plugin(folder):
    assert list(folder.find()) == ["first", "second_one"]
    assert folder.find()["first"].load().__name__ == "plugin_folder.first"


def test_dashes_in_names(folder):
    assert list(PluginFolder("plug-in", folder.group, folder.package, dashes=True).find()) == ["first", "second-one"]


def test_entry_points_join(folder, announce):
    announce(("third", "json:dumps"))
    assert list(folder.find()) == ["first", "second_one", "third"]
    assert folder.get("third").load()([]) == "[]"


def test_duplicate_name_names_both_origins(folder, announce):
    announce(("first", "json:dumps"))
    with pytest.raises(AuditError, match=rf"'first': defined twice: by plugin_folder.first and {folder.group}: first = json:dumps; rename"):
        folder.find()


def test_broken_entry_point_is_named(folder, announce):
    announce(("bad", "no_such_module"), ("worse", "json:no_such_name"))
    with pytest.raises(AuditError, match=rf"^{folder.group}: bad = no_such_module: cannot be loaded: ModuleNotFoundError.*; update or uninstall"):
        folder.get("bad").load()
    with pytest.raises(AuditError, match="worse = json:no_such_name: cannot be loaded: AttributeError"):
        folder.get("worse").load()


def test_unknown_name_hints_at_the_nearest(folder):
    with pytest.raises(AuditError, match="plug-in 'frist': is not installed; did you mean 'first'"):
        folder.get("frist")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.what)
def test_folders_exist_and_hold_plugins(folder):
    assert folder.find()
    assert "base" not in folder.find()


def test_finding_imports_nothing_heavy():
    program = f"import sys; from audit.io.plugins import *; [f.find() for f in ({', '.join(name for name in vars(plugins) if name.isupper())})]"
    program += "; print({'numpy', 'pandas', 'fsspec', 'PIL'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip() == "set()"
