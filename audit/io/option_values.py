"""Convert TOML values to the declared types of options."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audit.errors import ConfigError


def converted(where: str, value: Any, hint: Any) -> Any:
    """Return a TOML value as the declared type: integers are accepted as floats, arrays become tuples.

    Args:
        where: location for the error.
        value: as returned by ``tomllib``.
        hint: a type, a union, ``tuple[T, ...]``, ``Literal`` or ``Mapping``.

    Raises:
        ConfigError: the value does not have the type.
    """
    try:
        return _convert(value, hint)
    except TypeError:
        raise ConfigError(where, f"expected {describe(hint)}, got {value!r}", f"use {describe(hint)}") from None


def describe(hint: Any) -> str:
    """Return a type in words: ``int | None`` is "a whole number"."""
    words = {str: "text", int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe(option) for option in arguments if option is not type(None))
    if origin is typing.Literal:
        return " or ".join(repr(option) for option in arguments)
    if origin is tuple:
        return f"a list of {describe(arguments[0])}"
    return words.get(hint, "a table")


def _convert(value: Any, hint: Any) -> Any:
    """Convert a value; raise TypeError if it does not have the type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is None:
        return _plain(value, hint)
    if origin in (typing.Union, types.UnionType):
        return _first(value, arguments)
    if origin is tuple and isinstance(value, list | tuple):
        return _entries(value, arguments)
    allowed = value in arguments if origin is typing.Literal else issubclass(origin, Mapping) and isinstance(value, Mapping)
    if not allowed:
        raise TypeError
    return value


def _plain(value: Any, hint: Any) -> Any:
    if hint in (Any, object) or type(value) is hint:
        return value
    # TOML writes 1 for 1.0, and has no paths.
    if hint is float and type(value) is int:
        return float(value)
    if hint is Path and type(value) is str:
        return Path(value)
    raise TypeError


def _first(value: Any, options: tuple[Any, ...]) -> Any:
    for option in options:
        try:
            return _convert(value, option)
        except TypeError:
            continue
    raise TypeError


def _entries(value: list[Any] | tuple[Any, ...], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    expected = [arguments[0]] * len(value) if arguments[1:] == (...,) else list(arguments)
    if len(expected) != len(value):
        raise TypeError
    return tuple(_convert(entry, hint) for entry, hint in zip(value, expected, strict=True))
