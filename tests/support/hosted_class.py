"""A user's class in a host of its own, without a store that its code would come from."""

from __future__ import annotations

import os
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path

from tests.support.waiting import wait_for
from workers.inference.engines.python_engine import PythonEngine

LOAD_SECONDS = 60.0
OpenClass = Callable[..., PythonEngine]


def hosted(
    source: str,
    name: str = "Own",
    *,
    mark: str = "",
    load_seconds: float = LOAD_SECONDS,
    arguments: str = "{}",
) -> PythonEngine:
    """The class ``name`` of a module ``own`` with this source.

    ``mark``: a word in the environment of all its processes.
    """
    folder = Path(tempfile.mkdtemp(prefix="headrace-class-"))
    (folder / "code").mkdir()
    (folder / "tmp").mkdir()
    (folder / "code" / "own.py").write_text(textwrap.dedent(source))
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(folder / "tmp"), "MARK": mark}
    return PythonEngine(f"own:{name}", folder, environment, load_seconds, arguments)


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


def nothing_left(mark: str) -> None:
    """All processes with the mark are gone; the keeper is the last, with the folder."""
    wait_for(lambda: not processes_with(mark), what="the end of all processes")


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def calling(body: str, init: str = "pass") -> str:
    """The source of a class whose call is ``body``, with ``first``, the first image's value."""
    return (
        "import ctypes, itertools, os, resource, signal, subprocess, sys, threading, time\n"
        "import numpy as np\n"
        "class Own:\n"
        "    def __init__(self):\n"
        f"{textwrap.indent(textwrap.dedent(init), ' ' * 8)}\n"
        "    def __call__(self, images):\n"
        "        first = int(images.flat[0])\n"
        f"{textwrap.indent(textwrap.dedent(body), ' ' * 8)}\n"
        "        return ['ok'] * len(images)\n"
    )
