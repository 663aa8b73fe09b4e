"""Read TOML files, with one-line errors."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from audit.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def read_toml(path: Path, *, missing: str) -> tuple[str, dict[str, Any]]:
    """Return a file's text, without a byte order mark, and its parsed content.

    Args:
        path: the file.
        missing: hint of the error if the file does not exist.

    Raises:
        ConfigError: the file does not exist, cannot be read, or is not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        return text, tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigError(path, "no such file", missing) from None
    except UnicodeDecodeError as error:
        raise ConfigError(path, f"not UTF-8 at byte {error.start}", "save the file as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path, f"not TOML: {error}", "fix the syntax there") from None
    except OSError as error:
        raise ConfigError(path, f"cannot be read: {error.strerror}", "make the file readable") from None
