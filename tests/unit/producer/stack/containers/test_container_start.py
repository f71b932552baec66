"""What a container does before and beside its work: the ring, the sign of life, missing secrets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from producer.stack.containers import setup
from shared.errors import UsageError
from shared.lease import LeaseKeeper
from shared.ledger import WorkerIdentity
from shared.settings import load_settings
from shared.staging import __main__ as make_ring
from shared.staging import open_ring
from shared.views.crop import Crop
from tests.support.pictures import picture
from tests.support.waiting import wait_for
from workers.preprocess import resize

SETTINGS = {
    "host_id": "host-1",
    "broker_url": "redis://127.0.0.1:1/0",
    "ledger_url": "redis://127.0.0.1:1/1",
    "s3": {"endpoint": "127.0.0.1:1", "access_key": "a", "secret_key": "b"},
    "signing_keys": ["k"],
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    monkeypatch.setenv("HEADRACE_SETTINGS_FILE", str(tmp_path / "secret"))
    return tmp_path


def write_settings(home: Path, slot_bytes: int) -> None:
    ring = {"directory": str(home / "ring"), "slot_bytes": [slot_bytes], "slot_counts": [2]}
    (home / "secret").write_text(json.dumps({**SETTINGS, "ring": ring}))


def test_the_ring_is_made_once(home: Path) -> None:
    write_settings(home, 4096)
    assert make_ring.main() == 0
    before = (home / "ring" / "pixels").stat().st_ino
    assert make_ring.main() == 0
    assert (home / "ring" / "pixels").stat().st_ino == before
    assert open_ring(load_settings().ring, "host-1").pixels.size == 2 * 4096


def test_too_little_room_for_the_ring_is_one_line(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_settings(home, 1 << 50)
    assert make_ring.main() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("headrace: error: ")


def test_a_missing_secret_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=r"There is no .*/secret, which HEADRACE_SETTINGS_FILE"):
        load_settings()
    assert make_ring.main() == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_setup_without_its_users_is_one_line(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_settings(home, 4096)
    assert setup.main([str(home / "store_access")]) == 1
    assert [r.getMessage() for r in caplog.records] == [
        f"Cannot read {home / 'store_access'}: FileNotFoundError. Mount the secret."
    ]


class Ledger:
    def incarnation(self) -> str:
        return "i"

    def renew(self, *_: Any, **__: Any) -> None:
        return None

    depart = renew


def test_renewing_the_lease_is_the_sign_of_life(tmp_path: Path) -> None:
    alive, ledger = tmp_path / "alive", Ledger()
    identity = WorkerIdentity.of_this_process("preprocess", "host-1")
    keeper = LeaseKeeper(ledger, identity, 0.1, alive_file=alive)  # type: ignore[arg-type]
    keeper.start()
    wait_for(alive.exists, what="the first sign of life")
    first = alive.stat().st_mtime_ns
    wait_for(lambda: alive.stat().st_mtime_ns > first, what="the next one")
    keeper.end()


def test_a_sign_of_life_that_cannot_be_left_costs_no_lease(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Counting(Ledger):
        renewals = 0

        def renew(self, *_: Any, **__: Any) -> None:
            self.renewals += 1

    ledger = Counting()
    identity = WorkerIdentity.of_this_process("preprocess", "host-1")
    nowhere = tmp_path / "no folder" / "alive"
    keeper = LeaseKeeper(ledger, identity, 0.1, alive_file=nowhere)  # type: ignore[arg-type]
    keeper.start()
    wait_for(lambda: ledger.renewals >= 4, what="further renewals")
    nowhere.parent.mkdir()
    wait_for(nowhere.exists, what="a sign of life")
    keeper.end()
    complaints = [r.getMessage() for r in caplog.records if "No such file" in r.getMessage()]
    assert len(complaints) == 1


def test_a_process_without_a_name_is_named_after_its_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HEADRACE_PROCESS", raising=False)
    monkeypatch.setattr("socket.gethostname", lambda: "0f3a9c")
    assert WorkerIdentity.of_this_process("collector", "h").process == "collector-0f3a9c"
    monkeypatch.setenv("HEADRACE_PROCESS", "collector-2")
    assert WorkerIdentity.of_this_process("collector", "h").process == "collector-2"


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (256, 256), (31, 20), (900, 225)])
def test_without_torch_the_pixels_are_the_same(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.array(picture(*size))
    rows = np.zeros((2, 224, 224, 3), np.uint8)
    placement = Crop(resize_shorter_pixels=256, crop_pixels=224).place(size)
    resize.resize_into(rows[0], pixels, placement)
    monkeypatch.setattr(resize, "imported_torch", lambda: None)
    resize.use_one_thread()
    resize.resize_into(rows[1], pixels, placement)
    assert np.abs(rows[0].astype(int) - rows[1]).max() <= 1
