"""Print a message if Ray kills the scan's process: at once if Ray on this machine dies, after a minute if the cluster's head is gone.

Ray exits from its own threads, bypassing Python and, with its log silenced, without a reason. So another process prints the message.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_WATCH = """
import sys
if not sys.stdin.buffer.read():
    print("\\n" * sys.stderr.isatty() + sys.argv[1], file=sys.stderr)
"""


@contextmanager
def exit_message(line: str) -> Iterator[None]:
    """Print a line on standard error if this process ends before the block does, for any reason."""
    command = [sys.executable, "-I", "-S", "-c", _WATCH, line]
    # In its own session: a keyboard interrupt is reported by the scan.
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)  # noqa: S603  this Python, no shell
    try:
        yield
    finally:
        watcher.communicate(b"done")
