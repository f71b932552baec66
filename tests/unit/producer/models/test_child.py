"""Processes that open what we do not trust: they end with us, and see nothing of ours."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from producer.models.child import ChildEnded, answered, disposable_child
from producer.models.export import export_model
from shared.catalog.exports import ExportRequest
from shared.errors import HeadraceError
from tests.support.waiting import wait_for

CHILD = "tests.support.odd_child"
SECONDS = 60.0


def ask(folder: Path, asked: str, seconds: float = SECONDS) -> list[str]:
    with disposable_child(CHILD, folder, 0) as process:
        return answered(process, f"{json.dumps(asked)}\n".encode(), seconds, "that reads x.pth")


def test_it_sees_no_address_secret_or_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = ("HEADRACE_S3__SECRET_KEY", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY", "MY_TOKEN")
    for name in hidden:
        monkeypatch.setenv(name, "secret")
    seen = json.loads(ask(tmp_path, "environment")[0])
    assert seen.keys().isdisjoint(hidden)
    assert seen["TMPDIR"] == str(tmp_path)


def test_one_that_is_killed_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(ChildEnded, match=r"that reads x\.pth was ended by SIGKILL") as caught:
        ask(tmp_path, "die")
    assert caught.value.code == "child_killed"


def test_what_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    started = tmp_path / "pid"
    with disposable_child(CHILD, tmp_path, 0) as process:
        assert process.stdin is not None
        process.stdin.write(f"{json.dumps(str(started))}\n".encode())
        process.stdin.flush()
        wait_for(lambda: started.exists() and "\n" in started.read_text(), what="a grandchild")
        with pytest.raises(ChildEnded, match="did not end within") as caught:
            answered(process, b"", 0.01, "that reads x.pth")
    assert caught.value.code == "child_timed_out"
    wait_for(lambda: not is_alive(int(started.read_text())), what="the end of the grandchild")
    assert not is_alive(process.pid)


def test_memory_is_bounded(tmp_path: Path) -> None:
    assert ask(tmp_path, "eat") == ["Cannot allocate memory"]


def test_what_is_wrong_with_a_file_is_one_line(tmp_path: Path) -> None:
    weights = tmp_path / "mine.pth"
    weights.write_bytes(b"PK\x03\x04 cut off")
    request = ExportRequest(
        weights=weights,
        sha256="a" * 64,
        output=tmp_path / "model.onnx",
        architecture="resnet18",
    )
    with pytest.raises(HeadraceError) as caught:
        export_model(request)
    assert "\n" not in str(caught.value)
    assert "export to ONNX failed" not in str(caught.value)
    assert caught.value.code != "export_failed"
    assert not (tmp_path / "model.onnx").exists()


def is_alive(pid: int) -> bool:
    """Zombies are not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z" and os.path.isdir(f"/proc/{pid}")  # noqa: PTH112
