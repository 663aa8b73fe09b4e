"""A run inside GitHub Actions: its log understands commands, and its page shows a summary."""

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
    """Let GitHub take no line for a command while other people's names are printed; an error that ends the block becomes an annotation.

    Anything in a log that looks like a command is one: a file called ``::add-mask::e`` would blank the log. Commands are resumed by a token that
    nobody can guess.
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
    """Print annotations, and add to the job's summary what still fits into it."""
    print(github.render(gate), end="", file=stream, flush=True)
    named = environment.get("GITHUB_STEP_SUMMARY")
    if named:
        with Path(named).open("a", encoding="utf-8") as file:
            room = markdown.MOST_BYTES - file.tell()
            file.write(markdown.render(gate, room))
