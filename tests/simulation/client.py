"""What the ledger knows as ``redis.Redis``, for one simulated process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from shared import ledger
from tests.simulation.gate import Gate
from tests.simulation.valkey import Valkey

_SCRIPTS = Path(ledger.__file__).parent / "scripts"


@cache
def _script_names() -> dict[str, str]:
    prelude = (_SCRIPTS / "_prelude.lua").read_text()
    return {prelude + path.read_text(): path.stem for path in _SCRIPTS.glob("[a-z]*.lua")}


class _Commands:
    """Methods of redis-py for commands; ``_send`` sends one and shapes its answer."""

    def _send(self, shape: Callable[[Any], Any], *command: Any) -> Any:
        raise NotImplementedError

    def get(self, key: str) -> Any:
        return self._send(_as_it_is, "GET", key)

    def mget(self, *keys: str) -> Any:
        return self._send(_as_it_is, "MGET", *keys)

    def set(self, key: str, value: str, *, nx: bool, px: int) -> Any:
        return self._send(_as_it_is, "SET", key, value, *(["NX"] if nx else []), "PX", px)

    def pexpire(self, key: str, milliseconds: int) -> Any:
        return self._send(_as_it_is, "PEXPIRE", key, milliseconds)

    def delete(self, key: str) -> Any:
        return self._send(_as_it_is, "DEL", key)

    def pttl(self, key: str) -> Any:
        return self._send(_as_it_is, "PTTL", key)

    def zcard(self, key: str) -> Any:
        return self._send(_as_it_is, "ZCARD", key)

    def smembers(self, key: str) -> Any:
        return self._send(set, "SMEMBERS", key)

    def bitcount(self, key: str, *span: Any) -> Any:
        return self._send(_as_it_is, "BITCOUNT", key, *span)

    def hgetall(self, key: str) -> Any:
        return self._send(_pairs, "HGETALL", key)

    def hkeys(self, key: str) -> Any:
        return self._send(_as_it_is, "HKEYS", key)

    def hlen(self, key: str) -> Any:
        return self._send(_as_it_is, "HLEN", key)

    def rpush(self, key: str, value: str) -> Any:
        return self._send(_as_it_is, "RPUSH", key, value)

    def lpop(self, key: str, count: int) -> Any:
        return self._send(_as_it_is, "LPOP", key, count)


class Client(_Commands):
    """``leader_key``: a process with one of its own always believes that it leads."""

    def __init__(self, server: Valkey, gate: Gate, leader_key: str = "hr:leader") -> None:
        self._server, self._gate, self._leader_key = server, gate, leader_key

    def pipeline(self, transaction: bool = True) -> _Pipeline:
        return _Pipeline(self._server, self._gate)

    def scan_iter(self, match: str, count: int) -> Iterator[str]:
        found: list[str] = self._send(lambda reply: reply[1], "SCAN", 0, "MATCH", match)
        return iter(found)

    def register_script(self, text: str) -> Callable[..., Any]:
        name = _script_names()[text]

        def run(args: list[str]) -> Any:
            about = " ".join(args[:6])
            return self._gate.call("ledger", name, about, lambda: self._server.run(text, args))

        return run

    def _send(self, shape: Callable[[Any], Any], *command: Any) -> Any:
        name, key, *rest = command
        key = self._leader_key if key == "hr:leader" else key

        def execute() -> Any:
            return shape(self._server.execute(name, key, *rest))

        return self._gate.call("ledger", name.lower(), str(key), execute)


class _Pipeline(_Commands):
    def __init__(self, server: Valkey, gate: Gate) -> None:
        self._server, self._gate = server, gate
        self._sent: list[tuple[Callable[[Any], Any], tuple[Any, ...]]] = []

    def execute(self) -> list[Any]:
        def execute() -> list[Any]:
            return [shape(self._server.execute(*command)) for shape, command in self._sent]

        return self._gate.call("ledger", "pipeline", "", execute)

    def _send(self, shape: Callable[[Any], Any], *command: Any) -> None:
        self._sent.append((shape, command))


def _as_it_is(reply: Any) -> Any:
    return reply


def _pairs(reply: list[str]) -> dict[str, str]:
    return dict(zip(reply[::2], reply[1::2], strict=True))
