"""Options outside their range are refused by name."""

from __future__ import annotations

from audit.errors import ConfigError


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
