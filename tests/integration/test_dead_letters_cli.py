"""``headrace dead-letters`` over a real broker, with more in the bucket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import producer.dead_letters
from producer.cli.exits import run
from shared.broker.dead_letters import DeadLetter, DeadLetters, Limits, connect_dead_letters
from tests.support import samples
from tests.support.memory_store import MemoryStore
from tests.support.samples import save_settings
from tests.support.servers import start_valkey
from workers.quarantine.overflow import Overflow


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    store = MemoryStore("state")
    monkeypatch.setattr(producer.dead_letters, "resolve_store", lambda *_: store)
    return store


@pytest.fixture
def letters(
    tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DeadLetters]:
    """Ten letters, nine of them in the bucket."""
    valkey = start_valkey(tmp_path / "valkey")
    settings = samples.settings(tmp_path, valkey.url)
    save_settings(settings)
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    letters = connect_dead_letters(settings)
    for n in range(10):
        letters.add(DeadLetter.of(queue="q", layer="body", reason="r", raw=b"%d" % n))
    assert Overflow(letters, store, "state", "collector", Limits(entries=2)).move() == 9
    yield letters
    valkey.stop()


@pytest.mark.usefixtures("letters")
def test_list_shows_the_brokers_share_and_says_what_is_in_the_bucket(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["dead-letters", "list", "--json"]) == 0
    answer = capsys.readouterr()
    assert len(json.loads(answer.out)) == 1
    assert "9 older ones" in answer.err
    assert "quarantine/" in answer.err


def test_purge_empties_both(
    letters: DeadLetters, store: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["dead-letters", "purge", "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"count": 10}
    assert store.buckets["state"] == {}
    assert (letters.list(), letters.moved()) == ([], 0)
