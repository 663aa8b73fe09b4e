"""The options of a scan, merged from the command line and configuration files.

All options have the same precedence: the command line, then ``audit.toml`` in the working directory (or the file that ``--config`` names), then the
``[tool.imagenet-audit]`` table of ``pyproject.toml``, then the default. A file's keys are the fields of `ScanOptions`; the fields of
`audit.sources.SourceOptions` go into a ``[source]`` table and a check's options into ``[checks.NAME]``. ``docs/configuration.md`` lists them all.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from audit.backbones.names import FORMS, is_file, malformed, split_names
from audit.errors import ConfigError, nearest
from audit.io.option_values import converted
from audit.io.toml import read_toml

if TYPE_CHECKING:
    from pathlib import Path

    from audit.sources import SourceOptions

FILE_NAME = "audit.toml"
"""Read from the working directory unless ``--config`` names another file."""

TOOL_TABLE = "imagenet-audit"
"""The table below ``[tool]`` in ``pyproject.toml``."""

PATH_OPTIONS = frozenset(
    {"cache", "checkpoint", "embeddings", "predictions", "source.labels_file", "source.class_words_file", "source.taxonomy_file"}
)
"""Options that are paths: in a file, relative to the file's folder; on the command line, to the working directory."""

PRECISIONS = ("auto", "float32", "bfloat16", "int8")

ENGINES = ("local", "ray")

PREDICT = ("embeddings", "finetune")

FINETUNE_PIXELS = range(32, 1025)

MOST_NEIGHBORS = 1_000
"""FAISS returns at most 2,048 on a GPU, and the approximate search requests twice the number kept. Each takes 8 bytes per image: 1,000 for ImageNet's
1.28 million images are 10 GB."""

_LEAST_SECONDS = 0.1

DEVICE_FORM = re.compile(r"auto|cpu|cuda(:\d+)?")


def _source_options() -> SourceOptions:
    from audit.sources import SourceOptions

    return SourceOptions()


@dataclass(frozen=True, kw_only=True)
class ScanOptions:
    """The options of a scan. Raises ConfigError if a value is outside its range; ``where`` is the option's name."""

    source: SourceOptions = field(default_factory=_source_options)
    """How the dataset is stored and what its columns mean."""
    backbone: str = "auto"
    """``auto`` (CLIP if its weights are available, else the embedded model), ``embedded``, ``embedded-small``, ``clip:ARCHITECTURE/TAG``,
    ``timm:NAME``, or a ``.onnx``, ``.pt`` or ``.safetensors`` file. Several, separated by commas, are concatenated for label predictions; see
    ``docs/models.md``."""
    checkpoint: str | None = None
    """A local checkpoint file for the CLIP or timm architecture that ``backbone`` names."""
    embeddings: str | None = None
    """A file of embeddings to use instead of a backbone: ``.npy`` or Parquet; see ``docs/models.md``."""
    predictions: str | None = None
    """A file of out-of-sample class probabilities to use instead of computing them: ``.npy``, Parquet or CSV; see ``docs/predictions.md``."""
    predict: str = "embeddings"
    """What predicts labels: ``embeddings`` (small models on them) or ``finetune`` (the backbone, fine-tuned in every fold); see
    ``docs/predictions.md``."""
    finetune_pixels: int | None = None
    """Side of the images for ``finetune``, 32 to 1024; None chooses it by the dataset and the device."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    precision: str = "auto"
    """``auto`` (the fastest that the device supports well), ``float32`` or ``bfloat16``."""
    batch_size: int = 32
    """Images per forward pass, at least 1."""
    workers: int | None = None
    """Processes that read and decode images, at least 1; None means one per CPU."""
    offline: bool = False
    """Use no network: fetch no model weights and refuse a dataset or cache on another machine."""
    trust_mtime: bool = True
    """Take files with the size and modification time of the last scan for unchanged; else their digests are compared by reading them."""
    cache: str | None = None
    """A folder or fsspec URL that keeps the measures of images by content, shared by all scans that name it; see ``docs/cache.md``."""
    engine: str = "local"
    """What reads images and searches neighbors: ``local`` (this machine) or ``ray`` (a cluster); see ``docs/distributed.md``."""
    address: str | None = None
    """The Ray cluster to use: ``auto`` or ``HOST:PORT``; None starts Ray on this machine only."""
    faces: bool = False
    """Detect faces; needs ``imagenet-audit[faces]``; see ``docs/checks/faces.md``."""
    neighbors: int = 20
    """Nearest neighbors kept per image, 1 to `MOST_NEIGHBORS`."""
    seed: int = 0
    """Seed of all random numbers, at least 0."""
    max_pixels: int = 178_956_970
    """Larger images are reported as too large and not decoded: a small file can decompress to more than the memory."""
    max_bytes: int = 536_870_912
    """Larger files and members are reported as too large and not read."""
    seconds_per_image: float = 30.0
    """An image that takes longer to decode and measure is reported as timed out; at least 0.1."""
    min_precision: float = 0.95
    """Expected precision of the reported duplicates, which sets the lowest score; above 0, at most 1."""
    checks: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Options of checks: check name -> option -> value."""
    only: tuple[str, ...] = ()
    """Run only these checks; empty runs all."""
    skip: tuple[str, ...] = ()
    """Do not run these checks."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "workers", "neighbors", "max_pixels", "max_bytes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(name, f"{value} is too small", "use at least 1")
        if self.neighbors > MOST_NEIGHBORS:
            raise ConfigError("neighbors", f"{self.neighbors} is too large", f"use at most {MOST_NEIGHBORS:,}; 20 is the default")
        if not self.seconds_per_image >= _LEAST_SECONDS:
            raise ConfigError("seconds_per_image", f"{self.seconds_per_image} is too small", f"use at least {_LEAST_SECONDS}")
        if self.seed < 0:
            raise ConfigError("seed", f"{self.seed} is negative", "use 0 or more")
        if not 0 < self.min_precision <= 1:
            raise ConfigError("min_precision", f"{self.min_precision} is out of range", "use a number above 0 and at most 1, such as 0.95")
        if self.precision not in PRECISIONS:
            raise ConfigError("precision", f"unknown precision {self.precision!r}", nearest(self.precision, PRECISIONS))
        if not DEVICE_FORM.fullmatch(self.device):
            raise ConfigError("device", f"unknown device {self.device!r}", "use auto, cpu, cuda or cuda:N")
        self._check_backbone()
        self._check_predict()
        self._check_engine()
        self._check_names()

    def _check_backbone(self) -> None:
        if (wrong := malformed(self.backbone)) is not None:
            repeated = split_names(self.backbone).count(wrong) > 1
            raise ConfigError("backbone", f"{'repeated' if repeated else 'unknown'} backbone {wrong!r}", f"use {FORMS}")
        if self.embeddings is not None and (self.backbone != "auto" or self.checkpoint is not None):
            raise ConfigError("embeddings", "replaces the backbone, but one is named", "remove --backbone and --checkpoint, or --embeddings")
        if self.checkpoint is not None and len(split_names(self.backbone)) > 1:
            hint = "use a .safetensors file with a description; see docs/models.md"
            raise ConfigError("checkpoint", "belongs to one backbone, but several are named", hint)

    def _check_predict(self) -> None:
        if self.predict not in PREDICT:
            raise ConfigError("predict", f"unknown method {self.predict!r}", nearest(self.predict, PREDICT))
        if self.predict == "finetune":
            for name in ("predictions", "embeddings"):
                if getattr(self, name) is not None:
                    raise ConfigError("predict", f"'finetune' contradicts {name}", f"remove --predict finetune, or --{name}")
        if self.finetune_pixels is not None and (self.predict != "finetune" or self.finetune_pixels not in FINETUNE_PIXELS):
            needed = f"use {FINETUNE_PIXELS[0]} to {FINETUNE_PIXELS[-1]}" if self.predict == "finetune" else "add --predict finetune, or remove it"
            problem = f"{self.finetune_pixels} is out of range" if self.predict == "finetune" else f"{self.finetune_pixels} has no effect"
            raise ConfigError("finetune_pixels", problem, needed)

    def _check_names(self) -> None:
        for name in ("only", "skip"):
            if isinstance(getattr(self, name), str):
                raise ConfigError(name, f"{getattr(self, name)!r} is a string, not a sequence of names", f"write ({getattr(self, name)!r},)")
        if both := sorted(set(self.only) & set(self.skip)):
            raise ConfigError("skip", f"{both[0]!r} is also in 'only'", "remove it from one of them")

    def _check_engine(self) -> None:
        if self.engine not in ENGINES:
            raise ConfigError("engine", f"unknown engine {self.engine!r}", nearest(self.engine, ENGINES))
        if self.address is not None and self.engine != "ray":
            raise ConfigError(
                "address", f"{self.address!r} needs engine 'ray', but the engine is {self.engine!r}", "add --engine ray, or drop --address"
            )


def load(flags: Mapping[str, Any], cwd: Path, *, config: Path | None = None) -> ScanOptions:
    """Merge the command line, the files and the defaults into one set of options.

    Args:
        flags: options of the command line, structured like a file's tables; None means not given.
        cwd: folder whose ``audit.toml`` and ``pyproject.toml`` are read.
        config: file to read instead of ``cwd / "audit.toml"``; must exist.

    Raises:
        ConfigError: a file is not valid TOML, or has an unknown key or table, or a value of the wrong type or range. ``where`` names the file and
            the key.
    """
    layers = [(where, table) for where, table in (_pyproject(cwd), _file(cwd, config), ("command line", _given(flags))) if table]
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for where, table in layers:
        _read_layer(where, table, values, origins)
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
    """Return the options that were given: drop None, empty tuples and empty tables."""
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
    return read_toml(path, missing="pass an existing file to --config, or drop the option")[1]


def _absolute(table: Any, folder: Path) -> Any:
    """Resolve the paths in a file's table against the file's folder."""
    if not isinstance(table, dict):
        return table
    copy = {name: dict(value) if isinstance(value, dict) else value for name, value in table.items()}
    for name in PATH_OPTIONS:
        inner, key = (copy.get("source", {}), name.removeprefix("source.")) if "." in name else (copy, name)
        if isinstance(inner, dict) and isinstance(inner.get(key), str) and "://" not in inner[key]:
            inner[key] = str(folder / inner[key])
    if isinstance(named := copy.get("backbone"), str):
        copy["backbone"] = ",".join(str(folder / name) if is_file(name) else name for name in split_names(named))
    return copy


def _read_layer(where: str, table: Mapping[str, Any], values: dict[str, Any], origins: dict[str, str]) -> None:
    """Validate one layer's keys and types and merge it into ``values``; both dictionaries have dotted option names as keys."""

    def take(name: str, value: Any, hint: Any) -> None:
        values[name] = converted(f"{where}: {name}", value, hint)
        origins[name] = where

    hints = scan_hints()
    for key, value in table.items():
        _known(where, key, hints)
        if key == "source":
            from audit.sources import SourceOptions

            inner = typing.get_type_hints(SourceOptions)
            for name, entry in _table(f"{where}: source", value).items():
                _known(f"{where}: source", name, inner)
                take(f"source.{name}", entry, inner[name])
        elif key == "checks":
            known = _discovered()
            for check, options in _table(f"{where}: checks", value).items():
                _known(f"{where}: checks", check, known, what="check")
                inner = _check_hints(known[check])
                for name, entry in _table(f"{where}: checks.{check}", options).items():
                    _known(f"{where}: checks.{check}", name, inner)
                    take(f"checks.{check}.{name}", entry, inner[name])
        else:
            take(key, value, hints[key])
            if key in ("only", "skip"):
                for check in values[key]:
                    _known(f"{where}: {key}", check, _discovered(), what="check")


def scan_hints() -> dict[str, Any]:
    """Return the types of the fields of `ScanOptions` by name; ``source`` and ``checks`` are tables."""
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


def _known(where: str, key: str, known: Iterable[str], *, what: str = "option") -> None:
    names = list(known)
    if key not in names:
        raise ConfigError(where, f"unknown {what} {key!r}", nearest(key, names) if names else "remove it: there are no options")


def _table(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(where, f"expected a table, got {value!r}", "write a [table]")
    return dict(value)


def check_options(options: type | None) -> dict[str, Any]:
    """Return a check's options with their defaults."""
    if options is None:
        return {}
    defaults = options()
    return {name: getattr(defaults, name) for name in _check_hints(options)}
