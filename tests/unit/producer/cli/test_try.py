"""``try``: its answers, its errors, and that nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from producer import stages_process
from producer.cli.exits import run
from producer.cli.new_pipeline import GIVES
from producer.models import pull
from shared.errors import HeadraceError
from tests.support.hosted_class import nothing_left, processes_with
from tests.support.pictures import picture
from tests.support.waiting import wait_for

PROJECT = Path(__file__).resolve().parents[4]
PIPELINE = "name: own\npreprocess: {crop_pixels: 32}\nmodel: {python: 'own:Own'}\n"
ROW = {"status": "ok", "label": "cat\x1b", "score": 0.5, "error_code": None, "warning": None}
FAILED = {
    **dict.fromkeys(ROW),
    "status": "failed",
    "error_code": "corrupt",
    "error_message": "It is cut.",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current one, with a picture, a home, and a place for temporary files."""
    for name in ("work", "home", "tmp"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    picture().save("cat.png")
    return tmp_path


def own_class(source: str) -> None:
    Path("own.yaml").write_text(PIPELINE)
    Path("own.py").write_text(source)


@pytest.fixture
def child(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The source of a process that is started in place of the stages."""
    (folder / "own").mkdir()
    monkeypatch.setattr(stages_process, "PROJECT_ROOT", folder)
    monkeypatch.setattr(stages_process, "MODULE", "own.child")
    return folder / "own" / "child.py"


def says(answer: dict[str, Any]) -> str:
    return f"import sys\nprint({json.dumps(answer)!r})\nprint('a class', file=sys.stderr)\n"


def test_a_table_has_a_line_for_each_image(child: Path, capfd: pytest.CaptureFixture[str]) -> None:
    child.write_text(says({"rows": [ROW, FAILED], "timings_ms": {"decode": 2.4, "fetch": 0.1}}))
    own_class("class Own: ...")
    assert run(["try", "own.yaml", "cat.png", "./cat.png"]) == 0
    printed = capfd.readouterr()
    assert [line.split(maxsplit=4) for line in printed.out.splitlines()] == [
        ["IMAGE", "STATUS", "LABEL", "SCORE", "NOTE"],
        ["cat.png", "ok", "cat\\x1b", "0.5000"],
        ["./cat.png", "failed", "corrupt:", "It", "is cut."],
    ]
    assert "a class\n" in printed.err
    assert "milliseconds: decode 2\n" in printed.err


def test_json_has_rows_and_timings_alone(child: Path, capfd: pytest.CaptureFixture[str]) -> None:
    answer = {"rows": [ROW], "timings_ms": {"decode": 2.4}}
    child.write_text(says(answer))
    own_class("class Own: ...")
    assert run(["try", "own.yaml", "cat.png", "--json"]) == 0
    printed = capfd.readouterr()
    assert json.loads(printed.out) == answer
    assert printed.err == "a class\n"


@pytest.mark.parametrize("end", ["sys.exit(9)", "os.kill(os.getpid(), 9)", "print('no JSON')"])
def test_a_process_that_ends_without_an_answer_is_an_error(
    child: Path, end: str, capfd: pytest.CaptureFixture[str]
) -> None:
    child.write_text(f"import os, sys\n{end}\n")
    assert run(["try", "palette", "cat.png", "--json"]) == 1
    assert json.loads(capfd.readouterr().err)["error"]["code"] == "try_failed"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such-pipeline", "cat.png"], "There is no pipeline 'no-such-pipeline'"),
        (["./no-such.yaml", "cat.png"], "no-such.yaml"),
        (["palette"], "Missing argument"),
        (["palette", "no such.jpg"], "Cannot read no such.jpg: No such file"),
        (["palette", ""], "is a folder"),
        (["palette", "folder"], "folder is a folder. Name files, as in folder/*.jpg"),
        (["palette", "cat.png/x"], "Cannot read cat.png/x: Not a directory"),
        (["palette", "x" * 5000], "File name too long"),
        (["palette", "a\0b"], "Cannot read a"),
        (["palette", "loop"], "Cannot read loop: Too many levels"),
        (["palette", "pipe"], "pipe is not a file"),
        (["palette", "name\udcff.png"], "not in UTF-8"),
        (["palette", "s3://photos/cat.jpg"], "No stack is set up"),
        (["palette", "s3://photos"], "names no object"),
        (["palette", "s3://photos/2026/"], "names no object"),
        (["palette", "s3://No/cat.jpg"], "not a bucket name"),
        (["palette", "cat.png", "--out", "cat.png"], "Cannot write to cat.png"),
        (["palette", "cat.png", "--out", "/proc/none"], "Cannot write to /proc/none"),
        (["palette", "cat.png", "--out", "seen"], "Cannot write to seen/rows.jsonl: Is a"),
        (["mood", "cat.png"], "There is no pipeline 'mood': did you mean ./mood.yaml?"),
    ],
)
def test_wrong_usage_is_said_in_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], child: Path
) -> None:
    child.write_text("import sys\nassert not sys.stdin.read(), 'nothing is run'\n")
    Path("folder").mkdir()
    Path("seen", "rows.jsonl").mkdir(parents=True)
    Path("mood.yaml").touch()
    Path("loop").symlink_to("loop")
    os.mkfifo("pipe")
    Path("name\udcff.png").write_bytes(b"x")
    assert run(["try", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert len(printed.err.splitlines()) == 1


def test_a_model_that_cannot_be_fetched_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fetch(*_: object) -> None:
        raise HeadraceError("model_not_fetched", "No source answers.", "Say --from FILE.")

    monkeypatch.setattr(pull, "fetch", fetch)
    assert run(["try", "classify", "cat.png", "--json"]) == 1
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "model_not_fetched"


@pytest.mark.parametrize("gives", GIVES)
def test_what_pipelines_new_says_to_type_next_works(
    gives: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["pipelines", "new", "mood", "--gives", gives]) == 0
    validate, tried, _ = capfd.readouterr().out.splitlines()
    assert run(validate.split()[1:]) == 0
    capfd.readouterr()
    Path("PHOTO.jpg").write_bytes(Path("cat.png").read_bytes())
    assert run([*tried.split()[1:], "--json"]) == 0
    (row,) = json.loads(capfd.readouterr().out)["rows"]
    assert (row["status"], row["name"], row["pipeline"]) == ("ok", "PHOTO.jpg", "mood")
    assert row["label"] or row[gives]


def test_a_class_that_raises_shows_its_prints_and_traceback(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own_class(
        "class Own:\n    def __call__(self, images):\n"
        "        print('I see', len(images))\n        raise ValueError('no, thanks')\n"
    )
    assert run(["try", "own.yaml", "cat.png", "--json"]) == 1
    printed = capfd.readouterr()
    answer = json.loads(printed.out)
    (row,) = answer["rows"]
    assert (row["status"], row["error_code"]) == ("failed", "model_error")
    assert answer["timings_ms"]["load"] > 0
    *said, error = printed.err.splitlines()
    assert [line.removeprefix("try own | ") for line in said] == [
        "Loading own",
        "I see 1",
        "Traceback (most recent call last):",
        f'  File "{Path("own.py").absolute()}", line 4, in __call__',
        "    raise ValueError('no, thanks')",
        "ValueError: no, thanks",
    ]
    assert json.loads(error)["error"]["code"] == "images_failed"
    assert list((folder / "tmp").iterdir()) == []


def test_a_pipeline_that_cannot_run_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    own_class("class Own:\n    def __init__(self):\n        print('I try')\n        1 / 0\n")
    assert run(["try", "own.yaml", "cat.png"]) == 1
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "I try" in printed.err
    assert "headrace: error: " in printed.err.splitlines()[-1]


def test_ctrl_c_leaves_no_process_and_no_file(folder: Path) -> None:
    own_class(
        "import pathlib, subprocess, sys, tempfile, time\n"
        "class Own:\n    def __call__(self, images):\n"
        "        subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "        pathlib.Path(tempfile.gettempdir(), 'begun').touch()\n"
        "        while True: time.sleep(1)\n"
    )
    mark = str(folder / "tmp")
    with subprocess.Popen(
        [sys.executable, "-m", "producer", "try", str(Path("own.yaml").absolute()), "cat.png"],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for(lambda: list((folder / "tmp").rglob("begun")), what="the class runs")
        assert len(processes_with(mark)) > 2
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert list((folder / "tmp").iterdir()) == []
    nothing_left(mark)
