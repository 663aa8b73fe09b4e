"""Progress on standard error: bars on a terminal, plain lines elsewhere. Standard output is reserved for results."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, TextIO

from audit.io.progress import SILENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Self

    from rich.console import Console
    from rich.progress import Progress, Task
    from rich.table import Table

    from audit.io.progress import Observer

PATIENCE = 2.0
"""Seconds before progress of a stage is shown."""

LINE_PERIOD = 10.0
"""Seconds between two lines without a terminal; keeps logs short."""

NARROW = 72
"""Columns below which the bar is omitted, so that the numbers fit."""


def safe(text: object) -> str:
    r"""Return text with unprintable characters escaped, so that it can neither move the cursor nor break the line.

    File names are untrusted: they may contain newlines, terminal escape sequences, direction overrides and bytes that are not UTF-8.

    >>> safe("a\x1b[31mb\n")
    'a\\x1b[31mb\\n'
    """
    whole = str(text)
    if whole.isprintable():
        return whole
    return "".join(character if character.isprintable() else character.encode("unicode_escape").decode("ascii") for character in whole)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "image"), counted(1200, "image"), counted(2, "class")
    ('1 image', '1,200 images', '2 classes')
    """
    return f"{number:,} {noun}{'' if number == 1 else 'es' if noun.endswith('s') else 's'}"


def size(octets: int) -> str:
    """Return a file size with its unit.

    >>> size(3_120), size(4_200_000)
    ('3.1 kB', '4.2 MB')
    """
    return f"{octets / 1e3:.1f} kB" if octets < 1e6 else f"{octets / 1e6:.1f} MB"


def duration(seconds: float) -> str:
    """Return a duration with readable units.

    >>> duration(0.4), duration(75), duration(8000)
    ('0.4 s', '1 min 15 s', '2 h 13 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def rate(per_second: float) -> str:
    """Return a rate with two to four significant digits.

    >>> rate(0.25), rate(3.21), rate(1234.5)
    ('0.25/s', '3.2/s', '1,234/s')
    """
    digits = 2 if per_second < 1 else 1 if per_second < 10 else 0
    return f"{per_second:,.{digits}f}/s"


class Lines:
    """Print progress as plain lines, for logs and pipes."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._name = ""
        self._total: int | None = None
        self._done = 0
        self._begun = self._last = clock()

    def stage(self, name: str, total: int | None) -> None:
        """Begin a stage."""
        self.close()
        self._name, self._total, self._done = name, total, 0
        self._begun = self._last = self._clock()

    def advance(self, count: int) -> None:
        """Count, and print a line if the last one is older than `LINE_PERIOD`."""
        self._done += count
        now = self._clock()
        if now - self._begun >= PATIENCE and (now - self._last >= LINE_PERIOD or self._last == self._begun):
            self._last = now
            self._print(now, finished=False)

    def note(self, message: str) -> None:
        """Print a note."""
        print(f"note: {safe(message)}", file=self._stream, flush=True)

    def close(self) -> None:
        """End the running stage; print a last line if progress was printed."""
        if self._last > self._begun:
            self._print(self._clock(), finished=True)
        self._last = self._begun

    def _print(self, now: float, *, finished: bool) -> None:
        elapsed = max(now - self._begun, 1e-9)
        per_second = self._done / elapsed
        parts = [f"{self._name}: {self._done:,}" + (f" of {self._total:,}" if self._total else "")]
        if self._done:
            parts.append(rate(per_second))
        if finished:
            parts.append(f"took {duration(elapsed)}")
        elif self._total and self._done:
            parts.append(f"{duration(max(self._total - self._done, 0) / per_second)} left")
        print(", ".join(parts), file=self._stream, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.close()


class Bars:
    """Draw a bar with rate and time left for the running stage, after `PATIENCE` seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = _bars(console)

    def stage(self, name: str, total: int | None) -> None:
        """Begin a stage."""
        for task in self._progress.task_ids:
            self._progress.remove_task(task)
        self._progress.add_task(safe(name), total=total)

    def advance(self, count: int) -> None:
        """Move the bar."""
        for task in self._progress.task_ids:
            self._progress.advance(task, count)

    def note(self, message: str) -> None:
        """Print a note above the bar."""
        self._console.print(f"note: {safe(message)}", markup=False, highlight=False)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()


def observer(*, quiet: bool = False, color: bool = True) -> Lines | Bars | nullcontext[Observer]:
    """Return a context manager with an observer for standard error: bars on a terminal, lines elsewhere, silent if quiet."""
    if quiet:
        return nullcontext(SILENT)
    if not sys.stderr.isatty():
        return Lines(sys.stderr)
    from rich.console import Console

    return Bars(Console(stderr=True, no_color=None if color else True))


def _bars(console: Console) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(rate(speed) if speed else "", style="progress.data.speed")

    class Patient(Progress):
        def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
            return super().make_tasks_table([task for task in tasks if (task.elapsed or 0) >= PATIENCE])

    bar = [] if console.width < NARROW else [BarColumn(bar_width=None)]
    columns = [TextColumn("{task.description}", markup=False), *bar, MofNCompleteColumn(), Rate(), TimeRemainingColumn(compact=True)]
    return Patient(*columns, console=console, transient=True, expand=bool(bar), speed_estimate_period=20)
