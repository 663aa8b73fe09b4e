"""Find the checks: the modules of this package and those that other distributions announce. Nothing is registered anywhere else."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING

from audit.checks.base import TABLES, Check
from audit.errors import AuditError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ENTRY_POINT_GROUP = "imagenet_audit.checks"
"""Other distributions announce a check here: ``name = "package.module"``."""

_NOT_CHECKS = frozenset(
    {
        "base",
        "class_halves",
        "class_names",
        "discoveries",
        "embedding_clusters",
        "images_of_classes",
        "label_columns",
        "mark_gradients",
        "one_per_picture",
        "option_ranges",
        "properties",
        "robust_statistics",
        "separability",
        "stratified_rates",
        "telling_values",
        "discovery",
        "execution",
    }
)


def discover() -> Mapping[str, Check]:
    """Return every check by its name, sorted by name.

    Raises:
        AuditError: a name is taken twice, or a module does not have a check's shape; the place is the module's file.
    """
    package = importlib.import_module("audit.checks")
    return from_modules([*of_package(package), *of_entry_points(entry_points(group=ENTRY_POINT_GROUP))])


def of_package(package: ModuleType) -> list[tuple[str, ModuleType]]:
    """Import a package's check modules; names as in the package."""
    names = [found.name for found in pkgutil.iter_modules(package.__path__) if found.name not in _NOT_CHECKS and not found.name.startswith("_")]
    return [(name, importlib.import_module(f"{package.__name__}.{name}")) for name in names]


def of_entry_points(announced: Iterable[EntryPoint]) -> list[tuple[str, ModuleType]]:
    """Import the modules that entry points name.

    Raises:
        AuditError: one cannot be imported; the place is the entry point.
    """
    modules = []
    for entry in announced:
        try:
            modules.append((entry.name, entry.load()))
        except Exception as error:
            place = f"{ENTRY_POINT_GROUP}: {entry.name} = {entry.value}"
            raise AuditError(place, f"cannot be loaded: {error}", "update or uninstall the package that brings it") from error
    return modules


def from_modules(modules: Sequence[tuple[str, ModuleType]]) -> Mapping[str, Check]:
    """Read each module as a check; see ``discover``."""
    checks: dict[str, Check] = {}
    for name, module in modules:
        check = read_check(name, module)
        if name in checks:
            raise AuditError(name, f"two checks have this name: {checks[name].origin} and {check.origin}", "rename one of them")
        checks[name] = check
    return MappingProxyType(dict(sorted(checks.items())))


def read_check(name: str, module: ModuleType) -> Check:
    """Read one module as a check.

    Raises:
        AuditError: it has no docstring or no ``run``, a parameter of ``run`` names no table, or its ``Options`` are not a frozen dataclass.
    """
    origin = str(getattr(module, "__file__", None) or getattr(module, "__name__", module))
    run = getattr(module, "run", None)
    if not callable(run):
        raise AuditError(origin, "a check needs a function 'run'", "see docs/writing-a-check.md")
    title, _, about = inspect.cleandoc(module.__doc__ or "").partition("\n")
    if not title:
        raise AuditError(origin, "a check needs a docstring: its first line is its title", "say what it finds, in one line")
    options = getattr(module, "Options", None)
    parameters = inspect.signature(run).parameters
    _validate_options(origin, options, asked="options" in parameters)
    tables = {key: parameter.default for key, parameter in parameters.items() if key != "options"}
    for key, default in tables.items():
        if key not in TABLES:
            raise AuditError(origin, f"'run' asks for an unknown table {key!r}", nearest(key, TABLES))
        if default is not inspect.Parameter.empty and default is not None:
            raise AuditError(origin, f"'run' gives the table {key!r} a default", "leave the default out, or use None where the check can do without")
    needs = tuple(key for key, default in tables.items() if default is inspect.Parameter.empty)
    optional = tuple(key for key in tables if key not in needs)
    return Check(
        name=name,
        title=title,
        needs=needs,
        optional_needs=optional,
        options=options,
        run=run,
        origin=origin,
        kinds=tuple(getattr(module, "KINDS", ())),
        about=about.strip(),
    )


def _validate_options(origin: str, options: object, *, asked: bool) -> None:
    if asked != (options is not None):
        raise AuditError(origin, "a parameter 'options' of 'run' and a class 'Options' go together", "add the one that is not there")
    if options is None:
        return
    parameters = getattr(options, "__dataclass_params__", None)
    if not isinstance(options, type) or not dataclasses.is_dataclass(options) or parameters is None or not parameters.frozen:
        raise AuditError(origin, "'Options' is not a frozen dataclass", "decorate it with @dataclass(frozen=True, kw_only=True)")
