"""What a worker took from its queue and did not begin goes back there when it lets go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import redis
from kombu import Connection, Consumer

from shared.broker.celery_app import make_app, queue_of
from tests.support import samples
from tests.support.malformed import Target, valid
from tests.support.servers import start_valkey
from workers.quarantine.transport import Transport

QUEUE = "v6.results.bulk"


def test_it_lies_there_byte_by_byte_as_it_lay(tmp_path: Path) -> None:
    valkey = start_valkey(tmp_path / "valkey")
    try:
        client: Any = redis.Redis.from_url(valkey.url)
        options = make_app(samples.settings(tmp_path, valkey.url)).conf.broker_transport_options
        target = Target("collector", QUEUE, "key", samples.result())
        raws = [json.dumps(valid(target) | {"number": number}).encode() for number in range(3)]
        client.lpush(QUEUE, *raws)
        taken: list[Any] = []
        with Connection(valkey.url, transport=Transport, transport_options=options) as connection:
            channel = connection.default_channel
            with Consumer(channel, [queue_of(QUEUE)], on_message=taken.append, prefetch_count=1):
                connection.drain_events(timeout=10)
            assert len(taken) == 1
            assert client.lrange(QUEUE, 0, -1) == raws[:0:-1]
            taken[0].headers["more"] = "of the worker's own"
        assert sorted(client.lrange(QUEUE, 0, -1)) == sorted(raws)
        assert not client.keys("*unacked*")
    finally:
        valkey.stop()
