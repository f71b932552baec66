"""The connection to the ledger, and its scripts."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import redis

from shared.broker.errors import FAILURES, no_answer

_T = TypeVar("_T")
_SCRIPTS = Path(__file__).parent / "scripts"


class Stale(Exception):
    """The chunk has moved on. ``reason``: incarnation, job, cancelled, done, attempt or state."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@cache
def _script_text(name: str) -> str:
    return (_SCRIPTS / "_prelude.lua").read_text() + (_SCRIPTS / f"{name}.lua").read_text()


class Connection:
    """One connection to the ledger. Thread-safe. Every method may raise TransientError.

    ``pause_seconds``: how long a chunk's second rescue waits; each further one waits twice as long,
    up to thirty times this.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        lease_seconds: float = 6.0,
        pause_seconds: float = 2.0,
    ) -> None:
        self._client: Any = client  # redis-py's types promise more than they know
        self._lease_ms = int(lease_seconds * 1000)
        self._pause_ms = int(pause_seconds * 1000)
        self._scripts: dict[str, Any] = {}

    def _checked(self, name: str, *args: Any) -> list[Any]:
        answer = self._run(name, *args)
        if answer[0] == "stale":
            raise Stale(answer[1])
        return list(answer[1:])

    def _run(self, name: str, *args: Any) -> Any:
        script = self._scripts.get(name)
        if script is None:
            script = self._scripts[name] = self._client.register_script(_script_text(name))
        return self._call(lambda: script(args=[str(arg) for arg in args]))

    def _call(self, action: Callable[[], _T]) -> _T:
        try:
            return action()
        except FAILURES as error:
            raise no_answer("ledger", error) from error
