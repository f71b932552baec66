"""What a terminal or a pipe cannot show is escaped, and never ends a command."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

from producer.cli import output
from producer.cli.exits import run
from producer.cli.progress import Counter
from producer.jobs import JobRequest, submit
from shared.environment import terminal_encoding
from shared.errors import HeadraceError
from shared.job import Accounting, Closing
from shared.keys import part_key
from shared.rows import rows_schema
from shared.settings import PROJECT_ROOT
from tests.support.fake_connections import fake_connections
from tests.support.row_files import to_parquet

ENCODINGS = ["ascii", "latin-1", "cp1252", "koi8-r", "cp932", "utf-8"]
# A key a line: letters of several scripts, and what a terminal would obey.
KEYS = [
    *(
        "é/写真 🎉.jpg",
        "Ж.jpg",
        "a\x1b[31mred\x1b]0;title\x07.jpg",
        "b\u202egpj.exe",
        "c\x9b1m.jpg",
    ),
    *("d\ne\r\t.jpg", "f\u2028g\x85.jpg", "h\x00\x7f.jpg", "e\u0301.jpg"),
]


def terminal(encoding: str, *, is_terminal: bool = False) -> io.TextIOWrapper:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    if is_terminal:
        stream.isatty = lambda: True  # type: ignore[method-assign]
    return stream


def written(stream: io.TextIOWrapper) -> bytes:
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue()


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ended job whose every second image failed."""
    import pyarrow as pa

    fake = fake_connections(tmp_path)
    fake.put_images("photos", "a.jpg")
    request = JobRequest("s3://photos", str(fake.pipeline), job_id="job")
    spec = submit(fake.connections, request, fake.warnings.append)
    schema = rows_schema(spec.pipeline)
    rows = [
        {
            **dict.fromkeys(schema.names),
            **{"uri": f"s3://photos/{key}", "name": key},
            **{"job_id": "job", "key": key, "etag": "e", "size": 3, "pipeline": "shape"},
            **{"model": "shape", "model_version": "0" * 64, "label": f"label {key}"},
            "status": "failed" if number % 2 else "ok",
            "error_code": "corrupt" if number % 2 else None,
            "error_message": f"Bad: {key}" if number % 2 else None,
        }
        for number, key in enumerate(KEYS)
    ]
    data = to_parquet(pa.Table.from_pylist(rows, schema=schema), {})
    fake.store.put("results", part_key(spec, 0), data)
    counts = Accounting(listed=len(KEYS), succeeded=1, failed=len(KEYS) - 1)
    closing = Closing(state="failed", accounting=counts, error=f"Most fail, as {KEYS[2]}")
    fake.connections.jobs.create_closing("job", closing)
    monkeypatch.setattr("producer.connections.connect_stack", lambda: fake.connections)


def typed(
    monkeypatch: pytest.MonkeyPatch, encoding: str, *arguments: str, is_terminal: bool = False
) -> tuple[int, bytes, bytes]:
    """Run a command on such a terminal. Returns its exit code and its output."""
    out, err = (terminal(encoding, is_terminal=is_terminal) for _ in range(2))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        code = run(list(arguments))
    return code, written(out), written(err)


def is_harmless(text: str) -> bool:
    return all(char.isprintable() or char == "\n" for char in text)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "command",
    [["results", "job"], ["errors", "job"], ["status", "job"], ["wait", "job"], ["jobs"]],
    ids=" ".join,
)
def test_a_terminal_is_shown_what_it_can_show(
    job: None, monkeypatch: pytest.MonkeyPatch, encoding: str, command: list[str]
) -> None:
    code, out, err = typed(monkeypatch, encoding, *command)
    assert code == (1 if command[0] == "wait" else 0)
    assert is_harmless(out.decode(encoding))
    assert is_harmless(err.decode(encoding))
    if command[0] == "results":
        shown = out.decode(encoding)
        assert ("写真" in shown) == (encoding in {"cp932", "utf-8"})
        assert ("\\u5199" in shown) != ("写真" in shown)
        assert "a\\x1b[31mred" in shown
        assert len(shown.splitlines()) == len(KEYS) + 1


def test_columns_stand_below_each_other_in_ascii(
    job: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out, _ = typed(monkeypatch, "ascii", "results", "job")
    header, *lines = out.decode().splitlines()
    assert {line[header.index("STATUS") :].split()[0] for line in lines} == {"ok", "failed"}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("command", [["errors", "job"], ["status", "job"]], ids=" ".join)
def test_json_says_the_same_in_every_encoding(
    job: None, monkeypatch: pytest.MonkeyPatch, encoding: str, command: list[str]
) -> None:
    _, plain, _ = typed(monkeypatch, "utf-8", *command, "--json")
    _, out, _ = typed(monkeypatch, encoding, *command, "--json")
    assert json.loads(out.decode(encoding)) == json.loads(plain)
    assert is_harmless(out.decode(encoding).replace("\x7f", ""))


def test_an_error_under_json_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = typed(monkeypatch, "ascii", "pipelines", "show", "é\udcff", "--json")
    assert code == 2
    assert "é" in json.loads(err)["error"]["message"]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_rows_are_utf_8_everywhere(
    job: None, monkeypatch: pytest.MonkeyPatch, encoding: str, form: str, tmp_path: Path
) -> None:
    _, out, _ = typed(monkeypatch, encoding, "results", "job", "--format", form)
    file = tmp_path / f"rows.{form}"
    assert typed(monkeypatch, encoding, "results", "job", "-o", str(file))[0] == 0
    assert file.read_bytes() == out
    if form == "jsonl":
        lines = out.decode().splitlines()  # at every end of line that Unicode has
        assert [json.loads(line)["key"] for line in lines] == KEYS
    else:
        rows = csv.DictReader(io.StringIO(out.decode(), newline=""))
        assert [row["key"] for row in rows] == KEYS


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", ["\x1b[31m", "\u202e", "写", "\udcff", "a\nb"])
def test_wrong_usage_is_escaped_too(
    monkeypatch: pytest.MonkeyPatch, encoding: str, name: str
) -> None:
    for command in ([name], ["status", f"--{name}"], ["pipelines", "show", name]):
        code, out, err = typed(monkeypatch, encoding, *command)
        assert (code, out) == (2, b"")
        assert is_harmless(err.decode(encoding))
        assert err.count(b"\n") == 1


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_progress_and_questions(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    stream = terminal(encoding, is_terminal=True)
    stream.reconfigure(errors="backslashreplace")
    monkeypatch.setattr(sys, "stderr", stream)
    with Counter("写 é", "images") as counter:
        counter.update(1, 2, "🎉")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda text, **_: print(text, file=sys.stderr))
    output.confirm("Remove 写\x1b[31m?", yes=False)
    output.say("写\x1b[31m")
    assert "[31m" in written(stream).decode(encoding)
    assert "\x1b[31m" not in written(stream).decode(encoding)


def test_help_is_shown_in_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = typed(monkeypatch, "ascii", "results", "--help")
    assert code == 0
    assert out.isascii()


def test_a_log_with_escapes_is_shown_and_not_obeyed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines = ["inference-1 | \x1b[31m写\r 50%\tdone"]
    monkeypatch.setattr("producer.stack.local.logs", lambda *_: iter(lines))
    _, out, _ = typed(monkeypatch, "ascii", "logs")
    assert out == b"inference-1 | \\x1b[31m\\u5199\\r 50%\tdone\n"


class Full(io.RawIOBase):
    """A full disk."""

    def writable(self) -> bool:
        return True

    def write(self, _data: Any) -> int:
        raise OSError(28, "No space left on device")


def test_rows_on_a_full_disk_are_an_error_of_one_line(
    job: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for form in ("table", "csv", "jsonl", "parquet"):
        err = terminal("utf-8")
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(Full())))
            patch.setattr(sys, "stderr", err)
            assert run(["results", "job", "--format", form]) == 1
        assert written(err).startswith(b"headrace: error: Cannot write the answer: No space left")
        assert written(err).count(b"\n") == 1


def test_errors_that_nobody_reads_end_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(Full(), write_through=True))  # type: ignore[arg-type]
    output.say("progress")
    output.print_error(HeadraceError("x", "Wrong."), as_json=False)


@pytest.mark.parametrize(
    ("shell", "encoding"),
    [
        ({}, "UTF-8"),
        ({"LANG": "de_DE.UTF-8"}, "UTF-8"),
        ({"LANG": "C"}, "ascii"),
        ({"LC_ALL": "POSIX", "LANG": "de_DE.UTF-8"}, "ascii"),
        ({"LC_ALL": "", "LC_CTYPE": "fr_FR.ISO-8859-15", "LANG": "C"}, "ISO8859-15"),
        ({"LANG": "ja_JP.SJIS"}, "SJIS"),
        ({"LANG": "xx_XX.nonsense"}, "ascii"),
        ({"LANG": "xx_XX.UTF-16"}, "ascii"),
        ({"LC_ALL": "127.0.0.1:9"}, "ascii"),
        ({"PYTHONIOENCODING": "cp1252:strict", "LANG": "C"}, "cp1252"),
        ({"PYTHONIOENCODING": ":strict", "LANG": "C"}, "ascii"),
        ({"PYTHONIOENCODING": "rot13"}, "ascii"),
        ({"LC_ALL": "C.UTF-8", "HEADRACE_SHELL_LC_ALL": "C"}, "ascii"),
    ],
)
def test_the_shell_says_what_its_terminal_shows(
    monkeypatch: pytest.MonkeyPatch, shell: dict[str, str], encoding: str
) -> None:
    monkeypatch.setattr(os, "environ", shell)
    assert terminal_encoding().lower() == encoding.lower()


NAME = "é写\x1b[31m"
RESTARTS = {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}


@pytest.mark.parametrize(
    ("shell", "shown"),
    [
        ({"LC_ALL": "C"}, b"\\xe9\\u5199\\x1b[31m"),
        (RESTARTS, b"\\xe9\\u5199\\x1b[31m"),
        ({"LC_ALL": "de_DE.ISO-8859-1"}, b"\xe9\\u5199\\x1b[31m"),
        ({}, "é写\\x1b[31m".encode()),
    ],
    ids=str,
)
def test_the_whole_command_goes_by_it(tmp_path: Path, shell: dict[str, str], shown: bytes) -> None:
    done = command("pipelines", "show", NAME, shell=shell, home=tmp_path)
    assert done.returncode == 2
    assert shown in done.stderr


def command(
    *arguments: str, shell: dict[str, str], home: Path, out: int | IO[Any] = subprocess.PIPE
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "producer", *arguments],
        cwd=PROJECT_ROOT,
        env={"PATH": os.environ["PATH"], "HEADRACE_HOME": str(home), **shell},
        stdout=out,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("arguments", [["pipelines", "list"], ["--help"], ["--version"]])
def test_a_full_disk_is_said(tmp_path: Path, arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = command(*arguments, shell={}, home=tmp_path, out=full)
    assert done.returncode == 1
    assert done.stderr.startswith(b"headrace: error: Cannot write the answer")


@pytest.mark.parametrize(
    ("redirections", "code"),
    [
        (">&-", 0),
        ("<&- >&- 2>&-", 0),
        ("nonsense 2>&-", 2),
        ("nonsense >&- 2>&-", 2),
        ("nonsense 2>/dev/full", 2),
        ("nonsense 2>&1 | true; exit ${PIPESTATUS[0]}", 2),
    ],
)
def test_streams_that_are_closed(tmp_path: Path, redirections: str, code: int) -> None:
    done = subprocess.run(
        [
            "bash",
            "-c",
            f"{sys.executable} -m producer --version {redirections}".replace(
                "--version nonsense", "nonsense"
            ),
        ],
        cwd=PROJECT_ROOT,
        env={"PATH": os.environ["PATH"], "HEADRACE_HOME": str(tmp_path)},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")
