"""JSON Lines tables (https://jsonlines.org), such as Hugging Face's ``metadata.jsonl`` and our own exports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from audit.errors import SourceError


def read_objects(file: BinaryIO, path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number and object of each line that is not empty; NaN and infinities, which are not valid JSON, become null.

    Args:
        file: the table, at its first byte.
        path: the table, for messages.

    Raises:
        SourceError: a line is not a JSON object, or not UTF-8.
    """
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            found = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"), parse_constant=lambda _: None)
            if b"\\u" in line:
                json.dumps(found, ensure_ascii=False).encode()
        except UnicodeError:
            raise SourceError(where, "is not UTF-8", "save it as UTF-8; write invalid bytes of file names as \\xff") from None
        except (ValueError, RecursionError) as problem:
            reason = f"{problem.msg} at character {problem.colno}" if isinstance(problem, json.JSONDecodeError) else "nested too deeply"
            raise SourceError(where, f"is not valid JSON: {reason}", _HINT) from None
        if not isinstance(found, dict):
            raise SourceError(where, f"is not a JSON object: {line.decode().strip()[:80]!r}", _HINT)
        yield number, found


_HINT = "write one object on each line"
