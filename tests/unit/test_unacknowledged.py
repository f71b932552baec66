"""What a worker holds unacknowledged is let go of, whether the broker hears of it or not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import redis

from workers.quarantine.transport import QoS


class Unheard:
    """A pipeline whose answer never comes."""

    def execute(self) -> None:
        raise redis.ConnectionError("Connection closed by server.")


def test_an_acknowledgement_that_is_lost_leaves_room_for_another_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a worker that has lost as many as it has threads takes nothing for ever."""
    channel: Any = SimpleNamespace(connection_errors=(redis.ConnectionError,), do_restore=False)
    held = QoS(channel, prefetch_count=1)
    held._delivered["tag"] = object()
    assert not held.can_consume()
    monkeypatch.setattr(held, "_remove_from_indices", lambda _tag: Unheard())
    held.ack("tag")
    assert held.can_consume()
