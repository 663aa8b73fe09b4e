"""Find plug-ins: every module of a plug-in folder except ``base``, and the entry points of other distributions.

Sub-packages of a plug-in folder are libraries, not plug-ins. Finding plug-ins imports none of them.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

from audit.errors import AuditError, nearest


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plug-in, not imported yet."""

    name: str
    origin: str
    """Its module, or the entry point that names it."""
    load: Callable[[], Any]
    """Return the module, or the object that the entry point names. Raises AuditError where an entry point cannot be loaded."""


@dataclass(frozen=True, slots=True)
class PluginFolder:
    """One kind of plug-in and where its plug-ins are found."""

    what: str
    """One plug-in of this kind, for error messages."""
    group: str
    """Entry-point group in which other distributions announce theirs."""
    package: str | None = None
    """Dotted name of the folder; None where all plug-ins are entry points."""
    dashes: bool = False
    """Whether ``_`` in a module's name is ``-`` in the plug-in's name."""

    def find(self) -> Mapping[str, Plugin]:
        """Return all plug-ins by name, sorted by name. Raises AuditError where two have the same name."""
        return _find(self)

    def get(self, name: str) -> Plugin:
        """Return one plug-in. Raises AuditError if it is not installed."""
        found = self.find()
        if name not in found:
            raise AuditError(f"{self.what} {name!r}", "is not installed", nearest(name, found) if found else "install imagenet-audit again")
        return found[name]


CHECKS = PluginFolder("check", "imagenet_audit.checks", "audit.checks")
SOURCES = PluginFolder("source kind", "imagenet_audit.sources", "audit.sources")
EXPORTS = PluginFolder("export", "imagenet_audit.exports", "audit.exports", dashes=True)
COMMANDS = PluginFolder("command", "imagenet_audit.commands", "audit.commands", dashes=True)
GATE_FORMATS = PluginFolder("gate format", "imagenet_audit.gate_formats", "audit.gate.formats")
REPORT_FORMATS = PluginFolder("report format", "imagenet_audit.formats")
"""The formats of ``reports`` are entry points too: `audit` never imports that package."""


@cache
def _find(folder: PluginFolder) -> Mapping[str, Plugin]:
    found: dict[str, Plugin] = {}
    for plugin in (*_of_package(folder), *(_of_entry_point(entry) for entry in entry_points(group=folder.group))):
        if plugin.name in found:
            raise AuditError(
                f"{folder.what} {plugin.name!r}",
                f"defined twice: by {found[plugin.name].origin} and {plugin.origin}",
                "rename or uninstall one of them",
            )
        found[plugin.name] = plugin
    return MappingProxyType(dict(sorted(found.items())))


def _of_package(folder: PluginFolder) -> list[Plugin]:
    if folder.package is None:
        return []
    spec = find_spec(folder.package)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"no package named {folder.package!r}", name=folder.package)
    names = [module.name for module in pkgutil.iter_modules(spec.submodule_search_locations) if not module.ispkg and module.name != "base"]
    modules = {name.replace("_", "-") if folder.dashes else name: f"{folder.package}.{name}" for name in names}
    return [Plugin(name, module, partial(import_module, module)) for name, module in modules.items()]


def _of_entry_point(entry: EntryPoint) -> Plugin:
    origin = f"{entry.group}: {entry.name} = {entry.value}"
    return Plugin(entry.name, origin, partial(_load, entry, origin))


def _load(entry: EntryPoint, origin: str) -> Any:
    try:
        return entry.load()
    except Exception as error:
        problem = " ".join(f"cannot be loaded: {type(error).__name__}: {error}".split())
        raise AuditError(origin, problem, _hint(entry)) from error


def _hint(entry: EntryPoint) -> str:
    """Return a hint that names the folder which shadows the package, such as ``reports`` in the working directory."""
    top = sys.modules.get(entry.module.partition(".")[0])
    where = getattr(top, "__file__", None) or next(iter(getattr(top, "__path__", [])), None)
    provider = entry.dist.name if entry.dist else "the package that provides it"
    shadow = f"; {where} may shadow the installed package: use the imagenet-audit command or python -P" if where else ""
    return f"update or uninstall {provider}{shadow}"
