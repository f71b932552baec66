"""Contact sheets, drawn by a process of its own: the producer's side imports no image library."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress

from shared.contact_sheets import ContactSheets
from shared.errors import HeadraceError
from shared.settings import PROJECT_ROOT

MODULE = "workers.contact_sheet"


def draw_sheets(request: ContactSheets, progress: Callable[[int], None]) -> int:
    """Write the sheets. Returns how many images could not be shown, and are gray tiles there.

    ``progress`` takes how many images are done. Raises HeadraceError ``sheets_failed``.
    """
    done = missing = 0
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            [sys.executable, "-m", MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=PROJECT_ROOT,
        ) as process,
    ):
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            with suppress(BrokenPipeError):  # it says why
                process.stdin.write(request.model_dump_json().encode())
                process.stdin.close()
            for line in process.stdout:
                done += 1
                missing += line == b"missing\n"
                progress(done)
        except BaseException:  # such as Ctrl-C
            process.kill()
            raise
        code = process.wait()
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    if code:
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"it ended with code {code}."
        raise HeadraceError("sheets_failed", f"The contact sheets were not drawn: {reason}")
    return missing
