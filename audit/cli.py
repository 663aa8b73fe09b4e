"""Command line: parse arguments, run one command, map errors to exit codes.

Exit codes: 0 success; 2 error (one line on standard error names the problem and the fix); 130 interrupted. Heavy modules are imported only by the
commands that need them, so that ``--help`` is fast.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import traceback
from typing import TYPE_CHECKING, NoReturn

import click

from audit.commands import Commands
from audit.commands.base import INTERRUPTED, PROGRAM, say
from audit.commands.scan import scan
from audit.errors import AuditError, of_an_interrupt

if TYPE_CHECKING:
    from collections.abc import Sequence

STORAGE_HINTS = {
    errno.ENOSPC: "the disk is full; free some space or choose another path, then run the same command again to resume",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another path, then run the same command again to resume",
    errno.EFBIG: "the file exceeds the size limit; raise the limit (ulimit -f) or the quota, then run the same command again to resume",
    errno.EACCES: "permission denied; change the permissions or choose another path",
    errno.EPERM: "permission denied; change the permissions or choose another path",
    errno.ENOENT: "no such file or folder; check the spelling, or create the folder first",
    errno.EISDIR: "is a folder, not a file; choose a file",
    errno.ENOTDIR: "a parent of this path is a file, not a folder; choose another path",
    errno.EEXIST: "exists and is a file, not a folder; choose another path",
    errno.ENAMETOOLONG: "the name is too long for this file system; choose a shorter one",
    errno.ELOOP: "is a symbolic link that points to itself; choose another path",
    errno.EIO: "the storage failed to read or write; check the disk or network share, then run the same command again to resume",
    errno.EROFS: "the file system is read-only; choose another path",
    errno.EMFILE: "too many open files; raise the limit with: ulimit -n 4096",
}
"""Problem and fix of each storage error, by errno."""

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def main() -> NoReturn:
    """Run the command line and exit with its code; SIGTERM counts as an interrupt."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(invoke(sys.argv[1:]))


def invoke(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; errors that the user can fix become one line on standard error."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the parent process
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115  open until the process ends
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = commands.main(args=list(arguments), prog_name=PROGRAM, standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except KeyboardInterrupt:
        code = say("interrupted", INTERRUPTED)
    except click.Abort as error:  # click raises it for an interrupt, an unanswered prompt and any unexpected end of file
        code = _failed(error.__cause__) if isinstance(error.__cause__, EOFError) else say("interrupted", INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the last line of defence
        code = say("interrupted", INTERRUPTED) if of_an_interrupt(error) else _failed(error)
    return code


def _failed(error: Exception) -> int:
    line = _user_error(error)
    if line is None:
        traceback.print_exception(error)
        return say("Internal error. This is a bug in imagenet-audit, not in your data: please report it with the traceback above and the command.")
    return say(f"error: {line}")


def _user_error(error: Exception) -> str | None:
    """Return the line for an error that the user can fix; None for any other error."""
    if isinstance(error, AuditError):
        return _in_flags(error)
    if isinstance(error, MemoryError):
        return "out of memory; use fewer --workers or a smaller --batch-size"
    if isinstance(error, OSError) and error.errno in STORAGE_HINTS:
        return f"{error.filename or 'storage'}: {STORAGE_HINTS[error.errno]}"
    return None


def _in_flags(error: AuditError) -> str:
    """Return an error's line for the command line: the package names options as Python and ``audit.toml`` do, in backticks."""
    flags = {f"`{option.name}`": max(option.opts, key=len) for option in scan.params if isinstance(option, click.Option)}
    place = flags.get(f"`{error.where.removeprefix('command line: ')}`") if error.where.startswith("command line: ") else None
    line = str(AuditError(place or error.where, error.problem, error.hint))
    return re.sub(r"`\w+`", lambda found: flags.get(found[0], found[0]), line)


@click.group(cls=Commands, context_settings=CONTEXT)
@click.version_option(package_name=PROGRAM, prog_name=PROGRAM)
def commands() -> None:
    """Audit image-classification datasets and explain each finding.

    Start with: imagenet-audit demo

    Exit codes: 0 success; 2 error; 130 interrupted. Commands with other codes list them.
    """


if __name__ == "__main__":
    main()
