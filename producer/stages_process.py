"""The process that runs a pipeline over a few images: the producer's side touches no pixel."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.settings import PROJECT_ROOT

MODULE = "workers.few_images"
# What the host of a user's class may take to end all that the class has started.
_HOST_SECONDS = 12.0

StagesProcess = subprocess.Popen[bytes]


@contextmanager
def stages_process() -> Iterator[StagesProcess]:
    """Started at once: it imports its libraries while its caller prepares what to ask.

    No process and no temporary file is left, after Ctrl-C neither.
    """
    with tempfile.TemporaryDirectory(prefix="headrace-try-", ignore_cleanup_errors=True) as folder:
        try:
            with subprocess.Popen(
                [sys.executable, "-m", MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=PROJECT_ROOT,
                env={**os.environ, "TMPDIR": folder},
                process_group=0,  # the terminal's Ctrl-C is for us
            ) as process:
                try:
                    yield process
                finally:
                    process.kill()  # which it does not feel once it has answered
        finally:
            _wait_for_hosts(Path(folder))


def _wait_for_hosts(folder: Path) -> None:
    """The host of a class sees that its worker is gone, ends, and removes its folder last."""
    deadline = time.monotonic() + _HOST_SECONDS
    while any(folder.glob("headrace-class-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
