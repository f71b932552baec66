"""Progress on stderr: a bar where a terminal shows it, else a line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from producer.cli.output import is_plain, printable, say

if TYPE_CHECKING:
    from rich.progress import Progress

    from producer.jobs import JobStatus

LINE_SECONDS = 3.0
# Smaller files are uploaded in a moment.
SHOWN_BYTES = 32 * 2**20


class Counter:
    """``done`` of ``total``, with what else there is to say. Begins with the first update."""

    def __init__(self, label: str, unit: str) -> None:
        self._label = label
        self._unit = unit
        self._bar: Progress | None = None if is_plain(sys.stderr) else _make_bar()
        self._next_line = time.monotonic() + LINE_SECONDS

    def __enter__(self) -> Counter:
        if self._bar:
            self._bar.start()
            self._bar.add_task(self._label, total=None, unit=self._unit, more="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, done: int, total: int, more: str = "") -> None:
        """Show that ``done`` of ``total`` are done."""
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=done, total=total or None, more=more)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_SECONDS
            say(f"{self._label}: {done} of {total} {self._unit}{more and f', {more}'}")


@contextmanager
def showing_uploads() -> Iterator[Callable[[str, int, int], None]]:
    """Shows how much of each large file is sent: its name, the bytes, and of how many."""
    with ExitStack() as shown:
        counter: Counter | None = None

        def show(name: str, done: int, total: int) -> None:
            nonlocal counter
            if total < SHOWN_BYTES:
                return
            counter = counter or shown.enter_context(Counter("upload", "MiB"))
            counter.update(done >> 20, total >> 20, printable(name))

        yield show


def _make_bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}  {task.fields[more]}", markup=False),
        console=Console(stderr=True),
    )


def show_job(counter: Counter, status: JobStatus) -> None:
    """One look at a running job."""
    images = status.images
    done = (images.succeeded or 0) + (images.failed or 0)
    listed = images.listed or 0
    more = [f"{images.failed} failed"] if images.failed else []
    if status.state == "listing":
        more.append("still listing")
    if rate := status.images_per_second:
        more.append(f"{rate:.{0 if rate >= 10 else 1}f}/s")
        if status.state == "running" and done:
            more.append(f"{(listed - done) / rate:.0f} s left")
    counter.update(done, listed, ", ".join(more))
