"""What ``NetworkStaging`` knows as ``redis.Redis``: a byte is kept as a character."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.simulation.gate import Gate
from tests.simulation.valkey import Valkey


class StagingClient:
    """For one simulated process."""

    def __init__(self, server: Valkey, gate: Gate) -> None:
        self._server, self._gate = server, gate

    def register_script(self, text: str) -> Callable[..., Any]:
        def run(args: list[Any]) -> list[bytes]:
            given = list(map(str, args))
            parcels = self._call("reserve", given[0], lambda: self._server.run(text, given))
            return [name.encode() for name in parcels]

        return run

    def rpushx(self, key: str, *pieces: memoryview) -> int:
        texts = [bytes(piece).decode("latin-1") for piece in pieces]
        return int(self._call("rpushx", key, lambda: self._server.execute("RPUSHX", key, *texts)))

    def lrange(self, key: str, first: int, last: int) -> list[bytes]:
        texts = self._call("lrange", key, lambda: self._server.execute("LRANGE", key, first, last))
        return [text.encode("latin-1") for text in texts]

    def pipeline(self) -> _Pipeline:
        return _Pipeline(self._server, self._gate)

    def _call(self, name: str, about: str, action: Callable[[], Any]) -> Any:
        return self._gate.call("staging", name, about, action)


class _Pipeline:
    def __init__(self, server: Valkey, gate: Gate) -> None:
        self._server, self._gate = server, gate
        self._sent: list[tuple[str, ...]] = []

    def delete(self, *keys: str) -> None:
        self._sent.append(("DEL", *keys))

    def hdel(self, key: str, *fields: str) -> None:
        self._sent.append(("HDEL", key, *fields))

    def execute(self) -> None:
        def execute() -> None:
            for command in self._sent:
                self._server.execute(*command)

        self._gate.call("staging", "pipeline", str(self._sent[0]), execute)
