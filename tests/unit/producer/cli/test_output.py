"""What reaches a terminal, and what reaches a program."""

from __future__ import annotations

import io

import pytest

from producer.cli import output
from producer.cli.progress import Counter
from shared.errors import HeadraceError, UsageError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_no_colour_without_a_terminal_or_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert output.is_plain(io.StringIO())
    assert not output.is_plain(Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert output.is_plain(Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert output.is_plain(Terminal())


def test_an_error_has_colour_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    output.print_error(HeadraceError("x", "Wrong.", "Do this."), as_json=False)
    assert "\x1b[" in terminal.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    terminal.truncate(0)
    output.print_error(HeadraceError("x", "Wrong.", "Do this."), as_json=False)
    assert terminal.getvalue().lstrip("\0") == "headrace: error: Wrong. Do this.\n"


def test_a_terminal_does_not_obey_a_key() -> None:
    assert output.printable("a\x1b[31m\n") == "a\\x1b[31m\\n"
    assert output.printable("Ünï 写真.jpg") == "Ünï 写真.jpg"


def test_a_table_aligns_wide_letters_and_cuts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    output.table(("KEY", "COUNT"), [("写真", 5), (long, 1000)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "KEY" + " " * 297 + "  COUNT"
    assert lines[1] == "写真" + " " * 296 + "      5"
    assert lines[2] == long + "   1000"


def test_destroying_needs_a_yes_where_nobody_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(UsageError, match="--yes"):
        output.confirm("Remove it?", yes=False)
    output.confirm("Remove it?", yes=True)


def test_progress_without_a_terminal_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with Counter("job", "images") as counter:
        for second in range(8):
            now[0] = float(second)
            counter.update(second, 7, "1 failed" if second else "")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "job: 3 of 7 images, 1 failed\njob: 6 of 7 images, 1 failed\n"
