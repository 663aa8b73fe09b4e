"""The command line: parse, call one function, print what it gives, map errors to exit codes.

Exit codes: 0 done, 2 could not be done (one line on standard error says why and what to do), 130 interrupted. Nothing heavy is imported before a
command needs it, so that ``--help`` answers at once.
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
    errno.ENOSPC: "the disk is full; free some space or name another place, then give the same command: a scan resumes",
    errno.EDQUOT: "the disk quota is used up; free some space or name another place, then give the same command: a scan resumes",
    errno.EFBIG: "a file may not grow further; raise the limit (ulimit -f) or the quota, then give the same command: a scan resumes",
    errno.EACCES: "permission denied; make it accessible or name another place",
    errno.EPERM: "permission denied; make it accessible or name another place",
    errno.ENOENT: "there is no such file or folder; check the spelling, or make the folder first",
    errno.EISDIR: "is a folder, not a file; name a file",
    errno.ENOTDIR: "a part of this path is a file, not a folder; name another place",
    errno.EEXIST: "is there already, and is a file, not a folder; name another place",
    errno.ENAMETOOLONG: "the name is too long for this file system; choose a shorter one",
    errno.ELOOP: "a link that leads to itself; name another place",
    errno.EIO: "the storage failed to read or write; check the disk or the network share, then give the same command: a scan resumes",
    errno.EROFS: "the file system is read-only; name another place",
    errno.EMFILE: "too many open files; raise the limit with: ulimit -n 4096",
}
"""What to do about faults of the storage, by errno."""

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def main() -> NoReturn:
    """Run the command line and exit with its code; a request to end, as a pipeline that is cancelled sends it, is an interruption."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(invoke(sys.argv[1:]))


def invoke(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; errors that a person can mend become one line on standard error."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115  as long as the process lives
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
    except click.Abort as error:  # of an interrupt, of a question that got no answer, and of any end of a file that was not expected
        code = _failed(error.__cause__) if isinstance(error.__cause__, EOFError) else say("interrupted", INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the last line of defence
        code = say("interrupted", INTERRUPTED) if of_an_interrupt(error) else _failed(error)
    return code


def _failed(error: Exception) -> int:
    line = _fault(error)
    if line is None:
        traceback.print_exception(error)
        line = "this is a fault of imagenet-audit, not of your data; please report it with the lines above and the command"
    return say(f"error: {line}")


def _fault(error: Exception) -> str | None:
    """Say in one line what a person can mend; None where it is nothing of the kind."""
    if isinstance(error, AuditError):
        return _in_flags(error)
    if isinstance(error, MemoryError):
        return "memory: not enough; use fewer --workers or a smaller --batch-size"
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
    """Find what is wrong with an image-classification dataset, and say why.

    Start with: imagenet-audit demo
    """


if __name__ == "__main__":
    main()
