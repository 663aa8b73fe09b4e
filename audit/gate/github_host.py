"""Output for GitHub Actions: workflow commands in the log, and the job summary."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from audit.errors import AuditError
from audit.gate.formats import github, markdown

if TYPE_CHECKING:
    from audit.gate.gate import Gate


def inside(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether this process runs in GitHub Actions."""
    return environment.get("GITHUB_ACTIONS") == "true"


@contextmanager
def commands_off(stream: TextIO) -> Iterator[None]:
    """Disable workflow commands inside the block, which prints untrusted names; an AuditError that ends it becomes an annotation.

    GitHub executes every log line that looks like a command: a file called ``::add-mask::e`` would mask the log. A random token enables commands
    again.
    """
    token = secrets.token_hex(16)
    print(f"::stop-commands::{token}", file=stream, flush=True)
    try:
        yield
    except AuditError as error:
        print(f"::{token}::", github.command("error", str(error), title="imagenet-audit"), sep="\n", file=stream, flush=True)
        raise
    print(f"::{token}::", file=stream, flush=True)


def report(gate: Gate, stream: TextIO, environment: Mapping[str, str] = os.environ) -> None:
    """Print annotations, and append to the job summary as much as fits."""
    print(github.render(gate), end="", file=stream, flush=True)
    summary = environment.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            room = markdown.MOST_BYTES - file.tell()
            file.write(markdown.render(gate, room))
