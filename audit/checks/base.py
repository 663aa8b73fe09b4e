"""What a check is, which tables it may request and what it returns. A check is a module: see ``docs/writing-a-check.md``."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from audit.errors import AuditError, ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType

    import numpy as np
    import numpy.typing as npt
    import pandas as pd

TABLES = (
    *("samples", "pairs", "neighbors", "similarities", "embeddings", "thumbnails"),
    *("predictions", "label_quality", "classes", "class_words", "taxonomy", "faces", "encode_text", "listing_problems"),
    "reported_before",
)
"""Parameters that ``run`` may have besides ``options``; types and shapes are in ``docs/writing-a-check.md``."""

Family = Literal["labels", "confusion", "duplicates", "quality", "bias"]
"""Page of the dashboard that shows a check's findings."""

Unit = Literal["", "share", "p", "name"]
"""How a value of the evidence is shown: unchanged, as a percentage (of 0..1), as a p-value, or in words (for a name of this program)."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """How reports show one key of a finding's evidence."""

    title: str
    unit: Unit = ""
    by_name: bool = False
    """Whether the value is a mapping whose keys are names, such as labels. The keys of other nested mappings are in ``EVIDENCE`` themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One result that a person should look at. The runner adds the id, the sample's columns and the check's name."""

    kind: str
    score: float
    """0..1, higher = worse."""
    message: str
    """What is wrong, then what to do, in one or two sentences. Reports put the sample's name in front of it."""
    severity: str = "warning"
    """One of ``audit.tables.SEVERITIES``."""
    row: int | None = None
    """Row of the sample; None for a class or the whole dataset."""
    partner: int | None = None
    """Row of the sample that it was compared with; part of the finding's identity."""
    group: int | None = None
    """Row of the group's representative."""
    label: str | None = None
    """The class, where ``row`` is None."""
    suggested_label: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """JSON values; the keys are explained on the check's docs page."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a check returns: a score for every sample, and the findings."""

    scores: npt.NDArray[np.float32]
    """``[n]`` in [0, 1], higher = worse, NaN = not applicable."""
    findings: Sequence[Finding] = ()
    note: str = ""
    """What was looked at and found absent, and what could not be looked at, in one or two sentences; reports show it."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """What a check returns where it does not apply to a dataset."""

    reason: str
    """Shown to the user, such as ``no labels in this dataset``."""


SEVERAL_LABELS = Skipped("images of this dataset have several labels each")


@dataclass(frozen=True, slots=True)
class Missing:
    """Placeholder for a table that a run does not have; checks that need it are skipped with the reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Check:
    """A discovered check."""

    name: str
    """The module's name; public and stable."""
    title: str
    """One sentence: the first line of the module's docstring."""
    needs: tuple[str, ...]
    """Required tables: the parameters of ``run`` without a default."""
    optional_needs: tuple[str, ...]
    """Optional tables: the parameters of ``run`` with the default None."""
    options: type | None
    """The module's frozen dataclass ``Options``, or None."""
    run: Callable[..., Result | Skipped]
    origin: str
    """The module's file."""
    kinds: tuple[str, ...] = ()
    """Kinds of its findings: the module's ``KINDS``; ``*`` matches names from the dataset. Empty where the module has none."""
    about: str = ""
    """The rest of the docstring: why it matters, how it works, blind spots, references."""
    family: Family = "quality"
    """The module's ``FAMILY``."""
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    """Key of a finding's evidence -> title and unit: the module's ``EVIDENCE``."""
    heading: str = ""
    """Title in tables and on pages: the module's ``TITLE``, by default its name in words."""


def read_check(name: str, module: ModuleType) -> Check:
    """Read one module as a check.

    Raises:
        AuditError: It has no docstring or no ``run``, ``run`` requests an unknown table, or ``Options`` is not a frozen dataclass.
    """
    origin = str(getattr(module, "__file__", None) or getattr(module, "__name__", module))
    run = getattr(module, "run", None)
    if not callable(run):
        raise AuditError(origin, "a check needs a function 'run'", "see docs/writing-a-check.md")
    title, _, about = inspect.cleandoc(module.__doc__ or "").partition("\n")
    if not title:
        raise AuditError(origin, "the module has no docstring", "add one; its first line is the check's title")
    options = getattr(module, "Options", None)
    parameters = inspect.signature(run).parameters
    _validate_options(origin, options, requested="options" in parameters)
    tables = {key: parameter.default for key, parameter in parameters.items() if key != "options"}
    for key, default in tables.items():
        if key not in TABLES:
            raise AuditError(origin, f"'run' has a parameter {key!r}, which is not a table", nearest(key, TABLES))
        if default is not inspect.Parameter.empty and default is not None:
            raise AuditError(origin, f"parameter {key!r} of 'run' has a default", "remove it, or use None if the table is optional")
    family: Family = getattr(module, "FAMILY", "quality")
    if family not in get_args(Family):
        raise AuditError(origin, f"unknown FAMILY {family!r}", nearest(str(family), get_args(Family)))
    evidence = getattr(module, "EVIDENCE", {})
    if not all(isinstance(entry, Evidence) and entry.unit in get_args(Unit) for entry in evidence.values()):
        raise AuditError(origin, "a value of EVIDENCE is not an Evidence with a known unit", 'write EVIDENCE = {"key": Evidence("Title", "share")}')
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
        family=family,
        evidence=evidence,
        heading=getattr(module, "TITLE", name.replace("_", " ").capitalize()),
    )


def _validate_options(origin: str, options: object, *, requested: bool) -> None:
    if requested != (options is not None):
        raise AuditError(origin, "it has only one of 'Options' and the parameter 'options' of 'run'", "add the other one")
    if options is None:
        return
    parameters = getattr(options, "__dataclass_params__", None)
    if not isinstance(options, type) or not dataclasses.is_dataclass(options) or parameters is None or not parameters.frozen:
        raise AuditError(origin, "'Options' is not a frozen dataclass", "decorate it with @dataclass(frozen=True, kw_only=True)")


def skipped_without_classes(samples: pd.DataFrame, otherwise: str) -> Skipped:
    """Return why a check that compares classes cannot run: several labels per image, no labels, or the given reason.

    Args:
        samples: columns ``label`` and ``labels``.
        otherwise: reason where images have one label each.
    """
    if samples["labels"].notna().any():
        return SEVERAL_LABELS
    return Skipped(otherwise if samples["label"].notna().any() else "no labels in this dataset")


def require_shares(options: object, *names: str, example: float) -> None:
    """Raise ConfigError, which suggests the example, unless the options are above 0 and at most 1."""
    for name in names:
        value = getattr(options, name)
        if not 0 < value <= 1:
            raise ConfigError(name, f"{value} is not above 0 and at most 1", f"use a share such as {example}")


def require_between_0_and_1(options: object, *names: str) -> None:
    """Raise ConfigError unless the options are above 0 and below 1."""
    for name in names:
        value = getattr(options, name)
        if not 0 < value < 1:
            raise ConfigError(name, f"{value} is out of range", "use a number above 0 and below 1")


def require_above(options: object, **lows: float) -> None:
    """Raise ConfigError unless each option is above its lower bound."""
    for name, low in lows.items():
        value = getattr(options, name)
        if not value > low:
            raise ConfigError(name, f"{value} is too small", f"use a number above {low:g}")
