"""A user's class in a host of its own, without a store that its code would come from."""

from __future__ import annotations

import os
import tempfile
import textwrap
from pathlib import Path

from workers.inference.engines.python_engine import PythonEngine

LOAD_SECONDS = 60.0


def hosted(
    source: str, name: str = "Own", *, mark: str = "", load_seconds: float = LOAD_SECONDS
) -> PythonEngine:
    """The class ``name`` of a module ``own`` with this source.

    ``mark``: a word in the environment of all its processes.
    """
    folder = Path(tempfile.mkdtemp(prefix="headrace-class-"))
    (folder / "code").mkdir()
    (folder / "tmp").mkdir()
    (folder / "code" / "own.py").write_text(textwrap.dedent(source))
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(folder / "tmp"), "MARK": mark}
    return PythonEngine(f"own:{name}", folder, environment, load_seconds)


def processes_with(mark: str) -> list[int]:
    """The processes that have a word in their command line or their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            said = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if mark.encode() in said:
            found.append(int(process.name))
    return found
