"""What a scan is asked to do, and where each answer comes from.

One precedence for every option: the command line, then ``audit.toml`` in the working directory (or the file named by ``--config``), then the
``[tool.imagenet-audit]`` table of ``pyproject.toml``, then the default. A file holds the fields of `ScanOptions` as its keys, the fields of
`audit.sources.SourceOptions` in a ``[source]`` table and a check's own options in ``[checks.NAME]``. ``docs/configuration.md`` lists them all.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from audit.errors import ConfigError, nearest
from audit.io.option_values import converted
from audit.io.toml import read_toml

if TYPE_CHECKING:
    from pathlib import Path

    from audit.sources import SourceOptions

FILE_NAME = "audit.toml"
"""Read from the working directory where ``--config`` names no other file."""

TOOL_TABLE = "imagenet-audit"
"""The table below ``[tool]`` in ``pyproject.toml``."""

PATH_OPTIONS = frozenset({"cache", "checkpoint", "predictions", "source.labels_file", "source.class_words_file", "source.taxonomy_file"})
"""Options that name files: in a file they are relative to that file's folder, on the command line to the working directory."""

PRECISIONS = ("auto", "float32", "bfloat16")

ENGINES = ("local", "ray")

MOST_NEIGHBORS = 1_000
"""FAISS finds at most 2,048 on a GPU, and the approximate search asks for twice as many as are kept. Each takes 8 bytes an image: 1,000 of ImageNet's
1.28 million images are 10 GB."""

BACKBONE_FORM = re.compile(r"auto|embedded|clip(:[^/\s]+(/[^\s]+)?)?")
DEVICE_FORM = re.compile(r"auto|cpu|cuda(:\d+)?")


def _source_options() -> SourceOptions:
    from audit.sources import SourceOptions

    return SourceOptions()


@dataclass(frozen=True, kw_only=True)
class ScanOptions:
    """Everything a scan can be asked for, with its default.

    Raises:
        ConfigError: a value is outside its range; the place is the option's name.
    """

    source: SourceOptions = field(default_factory=_source_options)
    """How the dataset is stored and which of its columns mean what."""
    backbone: str = "auto"
    """``auto`` (CLIP where its weights can be had, else the embedded model), ``embedded``, ``clip`` or ``clip:ARCHITECTURE/TAG``."""
    checkpoint: str | None = None
    """A local checkpoint file for the CLIP architecture that ``backbone`` names."""
    predictions: str | None = None
    """A file of out-of-sample class probabilities, taken instead of making them: ``.npy``, Parquet or CSV; see ``docs/predictions.md``."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    precision: str = "auto"
    """``auto`` (the fastest that the device computes well), ``float32`` or ``bfloat16``."""
    batch_size: int = 32
    """Images per step of the model, at least 1."""
    workers: int | None = None
    """Processes that read and decode images, at least 1; None takes one per CPU."""
    offline: bool = False
    """Reach no network: no model weights are fetched, and a dataset or cache that is named by a URL of another machine is refused."""
    cache: str | None = None
    """A folder or fsspec URL where what is measured of each image is kept by content, for all scans that name it; see ``docs/cache.md``."""
    engine: str = "local"
    """Where images are read and neighbors searched: ``local`` (this machine) or ``ray`` (a cluster); see ``docs/distributed.md``."""
    address: str | None = None
    """The Ray cluster to use: ``auto`` or ``HOST:PORT``; None starts Ray on this machine alone."""
    faces: bool = False
    """Look for faces, with the detector of ``imagenet-audit[faces]``; see ``docs/checks/faces.md``."""
    neighbors: int = 20
    """Nearest neighbors kept for each image, 1 to `MOST_NEIGHBORS`."""
    seed: int = 0
    """Where anything is drawn at random, it is drawn from this; at least 0."""
    max_pixels: int = 178_956_970
    """Larger images are reported as too large and not decoded: a small file can unpack to fill the memory."""
    min_precision: float = 0.95
    """Duplicates are reported down to the score at which this share of them is expected to be right, above 0, at most 1."""
    checks: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Options of single checks: check name -> option -> value."""
    only: tuple[str, ...] = ()
    """Run these checks alone; empty runs all."""
    skip: tuple[str, ...] = ()
    """Do not run these checks."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "workers", "neighbors", "max_pixels"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(name, f"{value} is too small", "use at least 1")
        if self.neighbors > MOST_NEIGHBORS:
            raise ConfigError("neighbors", f"{self.neighbors} is too large", f"use at most {MOST_NEIGHBORS:,}; 20 is the default")
        if self.seed < 0:
            raise ConfigError("seed", f"{self.seed} is negative", "use 0 or more")
        if not 0 < self.min_precision <= 1:
            raise ConfigError("min_precision", f"{self.min_precision} is not a share", "use a number above 0 and at most 1, such as 0.95")
        if self.precision not in PRECISIONS:
            raise ConfigError("precision", f"unknown precision {self.precision!r}", nearest(self.precision, PRECISIONS))
        if not DEVICE_FORM.fullmatch(self.device):
            raise ConfigError("device", f"unknown device {self.device!r}", "use auto, cpu, cuda or cuda:N")
        if not BACKBONE_FORM.fullmatch(self.backbone):
            raise ConfigError("backbone", f"unknown backbone {self.backbone!r}", "use auto, embedded, clip or clip:ARCHITECTURE/TAG")
        self._check_engine()
        self._check_names()

    def _check_names(self) -> None:
        for name in ("only", "skip"):
            if isinstance(getattr(self, name), str):
                raise ConfigError(name, f"{getattr(self, name)!r} is one text, not several names", f"write ({getattr(self, name)!r},)")
        if both := sorted(set(self.only) & set(self.skip)):
            raise ConfigError("skip", f"{both[0]!r} is also in 'only'", "name it in one of them")

    def _check_engine(self) -> None:
        if self.engine not in ENGINES:
            raise ConfigError("engine", f"unknown engine {self.engine!r}", nearest(self.engine, ENGINES))
        if self.address is not None and self.engine != "ray":
            raise ConfigError("address", f"{self.address!r} is a Ray cluster, but the engine is {self.engine!r}", "add --engine ray, or leave it out")


def load(
    flags: Mapping[str, Any], cwd: Path, *, config: Path | None = None, options_of_checks: Mapping[str, type | None] | None = None
) -> ScanOptions:
    """Merge the command line, the files and the defaults into one set of options.

    Args:
        flags: shaped like a file's tables; an option whose value is None was not given.
        cwd: folder whose ``audit.toml`` and ``pyproject.toml`` are read.
        config: read this file instead of ``cwd / "audit.toml"``; then it must exist.
        options_of_checks: check name -> its options dataclass; by default those of all installed checks, looked up only where a check is named.

    Raises:
        ConfigError: a file is not TOML, or holds an unknown key or table, a value of the wrong type or outside its range. The place names the file
            and the key.
    """
    layers = [(place, table) for place, table in (_pyproject(cwd), _file(cwd, config), ("command line", _given(flags))) if table]
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for place, table in layers:
        _read_layer(place, table, values, origins, options_of_checks)
    source = {name.removeprefix("source."): values.pop(name) for name in list(values) if name.startswith("source.")}
    per_check: dict[str, dict[str, object]] = {}
    for name in [name for name in values if name.startswith("checks.")]:
        _, check, option = name.split(".", 2)
        per_check.setdefault(check, {})[option] = values.pop(name)
    try:
        if source:
            from audit.sources import SourceOptions

            values["source"] = SourceOptions(**source)
        return ScanOptions(**values, checks=per_check)
    except ConfigError as error:
        origin = origins.get(error.where) or origins.get(f"source.{error.where}")
        raise ConfigError(f"{origin}: {error.where}" if origin else error.where, error.problem, error.hint) from None


def _given(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what was not given: None, empty tuples and tables left empty."""
    given: dict[str, Any] = {}
    for name, value in flags.items():
        kept = _given(value) if isinstance(value, Mapping) else value
        if kept is not None and kept not in ((), {}):
            given[name] = kept
    return given


def _pyproject(cwd: Path) -> tuple[str, dict[str, Any]]:
    path = cwd / "pyproject.toml"
    table = _read(path).get("tool", {}).get(TOOL_TABLE, {}) if path.is_file() else {}
    return f"pyproject.toml [tool.{TOOL_TABLE}]", _table(f"{path}: tool.{TOOL_TABLE}", _absolute(table, cwd))


def _file(cwd: Path, config: Path | None) -> tuple[str, dict[str, Any]]:
    path = config or cwd / FILE_NAME
    if config is None and not path.is_file():
        return FILE_NAME, {}
    return str(config or FILE_NAME), _absolute(_read(path), path.parent)


def _read(path: Path) -> dict[str, Any]:
    return read_toml(path, missing="name an existing file with --config, or leave the option out")[1]


def _absolute(table: Any, folder: Path) -> Any:
    """Make the paths in a file's table relative to the file's folder."""
    if not isinstance(table, dict):
        return table
    copy = {name: dict(value) if isinstance(value, dict) else value for name, value in table.items()}
    for name in PATH_OPTIONS:
        inner, key = (copy.get("source", {}), name.removeprefix("source.")) if "." in name else (copy, name)
        if isinstance(inner, dict) and isinstance(inner.get(key), str) and "://" not in inner[key]:
            inner[key] = str(folder / inner[key])
    return copy


def _read_layer(
    place: str, table: Mapping[str, Any], values: dict[str, Any], origins: dict[str, str], options_of_checks: Mapping[str, type | None] | None
) -> None:
    """Check one layer's keys and types and lay it over ``values``; both dictionaries are keyed by dotted option names."""

    def take(name: str, value: Any, hint: Any) -> None:
        values[name] = converted(f"{place}: {name}", value, hint)
        origins[name] = place

    hints = scan_hints()
    for key, value in table.items():
        _known(place, key, hints)
        if key == "source":
            from audit.sources import SourceOptions

            inner = typing.get_type_hints(SourceOptions)
            for name, entry in _table(f"{place}: source", value).items():
                _known(f"{place}: source", name, inner)
                take(f"source.{name}", entry, inner[name])
        elif key == "checks":
            known = _discovered() if options_of_checks is None else options_of_checks
            for check, options in _table(f"{place}: checks", value).items():
                _known(f"{place}: checks", check, known, what="check")
                inner = _check_hints(known[check])
                for name, entry in _table(f"{place}: checks.{check}", options).items():
                    _known(f"{place}: checks.{check}", name, inner)
                    take(f"checks.{check}.{name}", entry, inner[name])
        else:
            take(key, value, hints[key])
            if key in ("only", "skip"):
                known = _discovered() if options_of_checks is None else options_of_checks
                for check in values[key]:
                    _known(f"{place}: {key}", check, known, what="check")


def scan_hints() -> dict[str, Any]:
    """Return the types of `ScanOptions`' fields by name; those of ``source`` and ``checks`` are tables."""
    from audit.sources import SourceOptions

    return typing.get_type_hints(ScanOptions, localns={"SourceOptions": SourceOptions})


def _check_hints(options: type | None) -> dict[str, Any]:
    if options is None:
        return {}
    hints = typing.get_type_hints(options)
    return {entry.name: hints[entry.name] for entry in dataclasses.fields(cast("Any", options)) if entry.init}


def _discovered() -> dict[str, type | None]:
    from audit.checks import discover

    return {name: check.options for name, check in discover().items()}


def _known(place: str, key: str, known: Iterable[str], *, what: str = "option") -> None:
    names = list(known)
    if key not in names:
        raise ConfigError(place, f"unknown {what} {key!r}", nearest(key, names) if names else "remove it, there is none")


def _table(place: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(place, f"expected a table, got {value!r}", "write it as a [table]")
    return dict(value)


def check_options(options: type | None) -> dict[str, Any]:
    """Return a check's options with their defaults."""
    if options is None:
        return {}
    defaults = options()
    return {name: getattr(defaults, name) for name in _check_hints(options)}
