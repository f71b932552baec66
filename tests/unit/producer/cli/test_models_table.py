"""``models list``, ``show`` and ``rm``, and ``prune``: what people read."""

from __future__ import annotations

from pathlib import Path

import pytest

from producer import connections as producer_connections
from producer.cli.exits import run
from shared.catalog import PublishedModel
from tests.support.fake_connections import Fake, fake_connections
from tests.support.models_bucket import A, B, put_release, put_version


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = fake_connections(tmp_path)
    monkeypatch.setattr(producer_connections, "connect_stack", lambda: fake.connections)
    return fake


def put_detector(fake: Fake) -> None:
    put_version(fake, "parts", A)
    key = f"parts/{A}/model.json"
    version = PublishedModel.model_validate_json(fake.store.get("models", key))
    update = {"outputs": {"boxes": 301665}, "layout": "yolox"}
    fake.store.put("models", key, version.model_copy(update=update).model_dump_json().encode())
    put_release(fake, "parts", 1, A)


def test_a_detector_has_its_layout_in_the_table_and_its_size_in_mebibytes(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    put_detector(fake)
    put_version(fake, "pets", B)
    fake.store.put("models", "pets/releases/00000001.json", b"junk")
    assert run(["models", "list"]) == 0
    printed = capsys.readouterr()
    (line,) = (line for line in printed.out.splitlines() if line.startswith("parts"))
    assert "boxes (yolox)" in line
    assert "301665" not in line
    assert "warning: The bucket 'models' has a pets/releases/00000001.json that" in printed.err
    assert run(["models", "show", "parts"]) == 0
    shown = capsys.readouterr().out
    assert "\nsize: 0.0 MiB\n" in shown
    assert "\nis_default: true\n" in shown
    assert "inputs" not in shown


def test_what_list_and_show_print_of_a_version_rm_takes(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    put_detector(fake)
    put_version(fake, "parts", B)
    assert run(["models", "rm", f"parts@{B[:12]}", "--yes"]) == 0
    assert run(["models", "rm", f"parts@{A[:12]}", "--yes"]) == 1
    assert "'headrace models rm parts'" in capsys.readouterr().err
    assert run(["models", "rm", "parts", "--yes"]) == 0
    assert not fake.store.buckets["models"]


def test_prune_says_what_it_called_off(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    put_detector(fake)
    mark = f"_removing/parts/{A}/token"
    fake.store.put("models", mark, b"")
    fake.store.modified_at[mark] = fake.store.modified_at[mark].replace(year=2020)
    assert run(["prune", "--dry-run"]) == 0
    assert capsys.readouterr().err == "Nothing to remove.\n"
    assert mark in fake.store.buckets["models"]
    assert run(["prune"]) == 0
    assert capsys.readouterr().err == (
        f"Jobs may use the version {A[:12]}… of the model 'parts' again: its removal was "
        "interrupted.\nNothing to remove.\n"
    )
    assert mark not in fake.store.buckets["models"]
