"""What a check is, what it may ask for, and what it gives back. A check itself is a module: see ``docs/writing-a-check.md``."""

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
)
"""What a check's ``run`` may name as a parameter, beside ``options``; types and shapes are in ``docs/writing-a-check.md``."""

Family = Literal["labels", "confusion", "duplicates", "quality", "bias"]
"""Page of the dashboard that shows a check's findings."""

Unit = Literal["", "share", "p", "name"]
"""How a value of the evidence is printed: as it is, as a percentage (0..1), as a p-value, or as words (the value is a name of this program)."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one key of a finding's evidence is for people."""

    title: str
    unit: Unit = ""
    by_name: bool = False
    """Whether the value is a mapping whose keys are names, such as labels. The keys of other nested mappings are in ``EVIDENCE`` themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing worth a person's time. The runner adds the id, the sample's columns and the check's name."""

    kind: str
    score: float
    """0..1, higher = worse."""
    message: str
    """One sentence a person can act on, without the sample's own name at its start."""
    severity: str = "warning"
    """One of ``audit.tables.SEVERITIES``."""
    row: int | None = None
    """The sample it is about; None for a class or the whole dataset."""
    partner: int | None = None
    """The sample it was verified against; part of the finding's identity."""
    group: int | None = None
    """Row of the group's representative."""
    label: str | None = None
    """The class it is about, where ``row`` is None."""
    suggested_label: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """JSON values; the keys are explained on the check's docs page."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a check found: a score for every sample, flagged or not, and the findings."""

    scores: npt.NDArray[np.float32]
    """``[n]`` in [0, 1], higher = worse, NaN = not applicable."""
    findings: Sequence[Finding] = ()


@dataclass(frozen=True, slots=True)
class Skipped:
    """What a check gives back where it does not apply to a dataset."""

    reason: str
    """Said to the user: ``no labels in this dataset``."""


SEVERAL_LABELS = Skipped("images of this dataset have several labels each")


@dataclass(frozen=True, slots=True)
class Missing:
    """Stands for a table that a run does not have; checks that need it are skipped with the reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Check:
    """A check as discovered."""

    name: str
    """The module's name; public and stable."""
    title: str
    """One sentence: the first line of the module's docstring."""
    needs: tuple[str, ...]
    """Tables it cannot do without: the parameters of ``run`` that have no default."""
    optional_needs: tuple[str, ...]
    """Tables it uses where there are any: the parameters of ``run`` whose default is None."""
    options: type | None
    """The module's frozen dataclass ``Options``, or None."""
    run: Callable[..., Result | Skipped]
    origin: str
    """The file it was found in."""
    kinds: tuple[str, ...] = ()
    """Kinds of its findings: the module's ``KINDS``; a ``*`` stands for names of the dataset's. Empty where the module has none."""
    about: str = ""
    """The rest of the docstring: why it matters, how it works, blind spots, sources."""
    family: Family = "quality"
    """The module's ``FAMILY``."""
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    """Key of a finding's evidence -> what it is: the module's ``EVIDENCE``."""
    heading: str = ""
    """Two or three words for a table or a page: the module's ``TITLE``, by default its name."""


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


def _validate_options(origin: str, options: object, *, asked: bool) -> None:
    if asked != (options is not None):
        raise AuditError(origin, "a parameter 'options' of 'run' and a class 'Options' go together", "add the one that is not there")
    if options is None:
        return
    parameters = getattr(options, "__dataclass_params__", None)
    if not isinstance(options, type) or not dataclasses.is_dataclass(options) or parameters is None or not parameters.frozen:
        raise AuditError(origin, "'Options' is not a frozen dataclass", "decorate it with @dataclass(frozen=True, kw_only=True)")


def skipped_without_classes(samples: pd.DataFrame, otherwise: str) -> Skipped:
    """Return why a check that compares classes of images with one label each cannot: they have several or none, or else the reason given.

    Args:
        samples: columns ``label`` and ``labels``.
        otherwise: what is missing where images have one label.
    """
    if samples["labels"].notna().any():
        return SEVERAL_LABELS
    return Skipped(otherwise if samples["label"].notna().any() else "no labels in this dataset")


def require_shares(options: object, *names: str, example: float) -> None:
    """Refuse options that are not above 0 and at most 1. Raises ConfigError, which advises the example."""
    for name in names:
        value = getattr(options, name)
        if not 0 < value <= 1:
            raise ConfigError(name, f"{value} is not above 0 and at most 1", f"use a share such as {example}")


def require_between_0_and_1(options: object, *names: str) -> None:
    """Refuse options that are 0 or less, or 1 or more. Raises ConfigError."""
    for name in names:
        value = getattr(options, name)
        if not 0 < value < 1:
            raise ConfigError(name, f"{value} is out of range", "use a number above 0 and below 1")


def require_above(options: object, **lows: float) -> None:
    """Refuse options that are not above the number given for each. Raises ConfigError."""
    for name, low in lows.items():
        value = getattr(options, name)
        if not value > low:
            raise ConfigError(name, f"{value} is too small", f"use a number above {low:g}")
