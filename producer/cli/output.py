"""What a command prints: the answer on stdout, and everything else on stderr."""

from __future__ import annotations

import io
import json
import os
import sys
from codecs import getincrementaldecoder
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, TextIO

import typer

from producer.cli.streams import writing_answer
from shared.errors import HeadraceError, UsageError, sentences

INTERRUPTED = 130  # the exit code after Ctrl-C
# What several commands take.
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="A job's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, as docs/schemas says.")]


def example(*commands: str) -> str:
    """The end of a command's help; its lines are not to be joined."""
    return "\b\n" + "\n".join(["Example:", *(f"  headrace {command}" for command in commands)])


def is_plain(stream: TextIO) -> bool:
    """Whether to write there without colours and bars: no terminal, or one that wants none."""
    return not stream.isatty() or bool(os.environ.get("NO_COLOR")) or _terminal() == "dumb"


def _terminal() -> str:
    return os.environ.get("TERM", "")


def answer(text: str) -> None:
    """A line of the answer, or several."""
    _answer(printable_lines(text))


def answer_json(value: object) -> None:
    """The answer to ``--json``: a model, a dataclass, or an array of either.

    In ASCII where stdout cannot show it as it is: it says the same.
    """
    from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

    try:
        text = to_json(value, indent=2).decode()
    except PydanticSerializationError:  # a file's name that is not UTF-8
        text = json.dumps(to_jsonable_python(value), indent=2)
    if text != printable_lines(text) or text != _shown(text):
        text = to_json(value, indent=2, ensure_ascii=True).decode()
    _answer(text)


def _answer(text: str) -> None:
    with writing_answer():
        print(text)  # noqa: T201


def say(text: str) -> None:
    """Progress."""
    _say(printable_lines(text))


def _say(text: str) -> None:
    with suppress(OSError):  # nobody reads it, or its disk is full: the command goes on
        print(text, file=sys.stderr, flush=True)  # noqa: T201


def warn(text: str) -> None:
    """Something that the user should know, though the command goes on."""
    say(f"headrace: warning: {text}")


def print_error(error: HeadraceError, as_json: bool) -> None:
    """One line, or one JSON object. A hint may have more lines, such as the end of a log."""
    message = " ".join(error.message.split())
    if as_json:
        body = {"code": error.code, "message": _in_utf8(message), "hint": _in_utf8(error.hint)}
        _say(json.dumps({"error": body}))
        return
    head = "headrace: error:"
    if not is_plain(sys.stderr):
        head = typer.style(head, fg="red", bold=True)
    _say(f"{head} {printable_lines(sentences(message, error.hint))}")


def confirm(question: str, yes: bool) -> None:
    """Ask before destroying. Raises UsageError without a terminal, Abort on a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("needs_yes", f"{question} No terminal to confirm on.", "Pass --yes.")
    typer.confirm(printable(question), abort=True, err=True)


def printable(text: object) -> str:
    """One line of text; a terminal must not obey what is in a key."""
    plain = "" if text is None else str(text)
    return plain if plain.isprintable() else "".join(map(_visible, plain))


def printable_lines(text: str) -> str:
    """As ``printable``, but for tabs and the ends of lines."""
    if text.isprintable():
        return text
    return "".join(char if char in "\n\t" else _visible(char) for char in text)


class Terminal(io.RawIOBase):
    """stdout as a file of UTF-8 that a terminal shows and does not obey."""

    def __init__(self) -> None:
        self._decoder = getincrementaldecoder("utf-8")("backslashreplace")

    def writable(self) -> bool:
        """As any file to write to."""
        return True

    def write(self, data: Any, /) -> int:
        """All of ``data``, bytes or a buffer."""
        given = bytes(data)
        sys.stdout.write(printable_lines(self._decoder.decode(given)))
        return len(given)


def _visible(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode()


def _in_utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _shown(text: str) -> str:
    """The text as it comes out of stdout."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns of text; numbers stand right. Nothing is cut off."""
    from rich.cells import cell_len

    cells_of = [[_shown(printable(cell)) for cell in row] for row in rows]
    lines = [list(header), *cells_of]
    widths = [max(cell_len(line[column]) for line in lines) for column in range(len(header))]
    right = [
        bool(rows) and all(isinstance(row[column], int | float | None) for row in rows)
        for column in range(len(header))
    ]
    for line in lines:
        cells = []
        for text, width, to_the_right in zip(line, widths, right, strict=True):
            space = " " * (width - cell_len(text))
            cells.append(space + text if to_the_right else text + space)
        answer("  ".join(cells).rstrip())
