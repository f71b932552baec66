"""stdout and stderr as they are found: of any encoding, closed, or on a full disk."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import HeadraceError


def prepare(encoding: str | None = None) -> None:
    """Have stdout and stderr escape what they cannot encode; one that is closed goes nowhere.

    ``encoding``: what they show, where it is not what Python takes it for.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # the next file that is opened would take its place
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(nowhere, True)
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(nowhere, mode, encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(encoding=encoding or stream.encoding, errors="backslashreplace")


@contextmanager
def writing_answer() -> Iterator[None]:
    """Around what writes to stdout: a full disk is an error of one line."""
    try:
        yield
    except BrokenPipeError:  # the reader has enough, which is no error
        raise
    except OSError as error:
        raise not_written(error) from error


def not_written(error: OSError) -> HeadraceError:
    """The error for an answer that is lost."""
    return HeadraceError(
        "answer_not_written",
        f"Cannot write the answer: {error.strerror or error}.",
        "Make room, or send it elsewhere.",
    )
