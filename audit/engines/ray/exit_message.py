"""A word for a scan whose process Ray ends: at once where Ray on its own machine dies, after a minute where the cluster's head is gone.

Ray does that from its own threads and past Python, and keeps the reason to itself where it is kept silent, so the word comes from another process.
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
def last_word(line: str) -> Iterator[None]:
    """Have a line printed on standard error if this process ends before the block does, by whatever hand."""
    command = [sys.executable, "-I", "-S", "-c", _WATCH, line]
    # A session of its own: an interrupt from the keyboard is the scan's to tell.
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)  # noqa: S603  this Python, no shell
    try:
        yield
    finally:
        watcher.communicate(b"ended as it should")
