"""One Valkey for those tests that need no server of their own; each begins with it empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from shared.ledger import Ledger, connect_ledger
from tests.support import samples
from tests.support.ledger_steps import INC, UID, connect_to
from tests.support.producer_harness import BOUND, LEASE_SECONDS, ProducerHarness
from tests.support.servers import RunningValkey, start_valkey


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningValkey]:
    server = start_valkey(tmp_path_factory.mktemp("valkey"))
    yield server
    server.stop()


@pytest.fixture
def broker_url(valkey: RunningValkey, rabbit_url: str | None) -> str:
    """The broker that ``$TEST_BROKER`` asks for."""
    return rabbit_url or valkey.url


@pytest.fixture
def harness(valkey: RunningValkey, tmp_path: Path) -> Iterator[ProducerHarness]:
    changes = {"lease_seconds": LEASE_SECONDS, "preprocess_queue_chunks": BOUND}
    settings = samples.settings(tmp_path, valkey.url).model_copy(update=changes)
    client: Any = redis.Redis.from_url(valkey.url, decode_responses=True)
    client.flushall()
    harness = ProducerHarness(settings, client, connect_ledger(settings))
    yield harness
    for leader in harness.leaders:
        leader.end()


@pytest.fixture
def client(valkey: RunningValkey) -> Any:
    return redis.Redis.from_url(valkey.url, decode_responses=True)


@pytest.fixture
def ledger(valkey: RunningValkey, client: Any) -> Ledger:
    """A new ledger with one job and nothing fed."""
    client.flushall()
    ledger = connect_to(valkey.url)
    ledger.begin(INC)
    ledger.register_job(INC, UID, "job", samples.FIRST_QUEUE)
    return ledger
