"""Every end of a command: its exit code, and one line on stderr or one JSON object."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from producer.cli.answers import ErrorAnswer
from producer.cli.exits import run
from shared.settings import PROJECT_ROOT


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which nothing was ever set up."""
    for name in [name for name in os.environ if name.startswith("HEADRACE_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    monkeypatch.setenv("HEADRACE_HOME", str(home))
    return home


WRONG_USAGE = [
    ["enqueu"],
    ["enqueue"],
    ["enqueue", "s3://photos"],
    ["enqueue", "s3://photos", "--pipeline", "classify", "--chunk-items", "0"],
    ["enqueue", "s3://photos", "--pipeline", "classify", "--chunk-items", "513"],
    ["enqueue", "s3://photos", "--pipeline", "classify", "--limit", "many"],
    ["status", "--nonsense"],
    ["models"],
    ["results", "x", "--format", "xml"],
    ["results", "x", "-o", "rows.txt"],
    ["dead-letters", "replay"],
    ["dead-letters", "replay", "some", "--all"],
    ["retry", "x"],
    ["scale", "preprocess"],
    ["up", "--workers", "preprocess=two"],
    ["status"],
    ["info"],
    ["results", "x"],
    ["upload", "/no/such/folder", "s3://photos"],
]


@pytest.mark.parametrize("arguments", WRONG_USAGE, ids=" ".join)
def test_wrong_usage_is_one_line_and_2(
    arguments: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("headrace: error: ")
    assert printed.err.count("\n") == 1
    assert not home.exists()


@pytest.mark.parametrize(
    "arguments", [["enqueue", "s3://photos"], ["status"], ["nonsense"]], ids=" ".join
)
def test_errors_under_json_are_one_object(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments, "--json"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    error = ErrorAnswer.model_validate_json(printed.err, strict=True).error
    assert error.code
    assert error.message
    assert error.hint
    assert set(json.loads(printed.err)["error"]) == {"code", "message", "hint"}


def broken(*_: object, **__: object) -> None:
    raise RuntimeError("two\nlines")


def test_the_unexpected_is_one_line_and_its_traceback_is_kept(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home.mkdir()
    monkeypatch.setattr("producer.stack.info.load_settings", broken)
    assert run(["info"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "RuntimeError: two lines" in error
    (kept,) = home.iterdir()
    assert str(kept) in error
    assert "Traceback" in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0


def test_debug_shows_the_traceback(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home.mkdir()
    monkeypatch.setenv("HEADRACE_DEBUG", "1")
    monkeypatch.setattr("producer.stack.info.load_settings", broken)
    assert run(["info"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("producer.stack.info.load_settings", interrupted)
    assert run(["info"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def headrace(
    *arguments: str, home: Path, check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=PROJECT_ROOT,
        env={**os.environ, "HEADRACE_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=check,
        timeout=60,
    )


def test_a_reader_that_has_enough_is_no_error(home: Path) -> None:
    command = f"{sys.executable} -m producer --help | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_help_imports_nothing_heavy(home: Path) -> None:
    code = (
        "import sys; from producer.cli.exits import run; code = run(['--help']);"
        "print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    loaded = headrace("-c", code, home=home).stderr
    for heavy in ("pyarrow", "celery", "minio", "obstore", "redis", "pydantic", "numpy", "rich"):
        assert f"'{heavy}'" not in loaded, heavy


def test_what_asks_no_store_loads_no_library_of_one(home: Path) -> None:
    code = "import sys, producer.try_out; print(*sys.modules, sep='\\n')"
    loaded = headrace("-c", code, home=home).stdout.split()
    assert {"minio", "obstore", "urllib3"}.isdisjoint(loaded)
