"""Tables with one JSON object a line (https://jsonlines.org), such as Hugging Face's ``metadata.jsonl`` and our own exports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from audit.errors import SourceError


def read_objects(file: BinaryIO, place: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number and object of each line that is not empty; NaN and infinities, which are no JSON, are null.

    Args:
        file: the table, at its first byte.
        place: the table, for messages.

    Raises:
        SourceError: a line holds no object, or text that is no UTF-8.
    """
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        where = f"{place}:{number}"
        try:
            found = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"), parse_constant=lambda _: None)
            if b"\\u" in line:
                json.dumps(found, ensure_ascii=False).encode()
        except UnicodeError:
            raise SourceError(where, "is not UTF-8", "save it as UTF-8; a byte of a file's name that is none is written \\xff") from None
        except (ValueError, RecursionError) as problem:
            reason = f"{problem.msg} at character {problem.colno}" if isinstance(problem, json.JSONDecodeError) else "it nests too deep"
            raise SourceError(where, f"is no JSON: {reason}", _MEND) from None
        if not isinstance(found, dict):
            raise SourceError(where, f"is no JSON object: {line.decode().strip()[:80]!r}", _MEND)
        yield number, found


_MEND = "write one object on each line"
