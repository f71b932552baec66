"""As much of Valkey as the ledger and the parcels ask of it, in memory and on simulated time.

Their own scripts run here unchanged, in the same Lua that Valkey has. A command that nobody
has needed so far is an AttributeError. ``test_simulated_valkey.py`` compares it with a real one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

from lupa import lua51

Reply = Any


class Bits(set[int]):
    """A string that is used as a bitmap: the bits that are set."""


@cache
def _lua() -> Any:
    return lua51.LuaRuntime()


@cache
def _compiled(text: str) -> Any:
    return _lua().eval(f"function(redis, ARGV) {text}\nend")


def collect_garbage() -> None:
    """Let Lua go of everything that no script needs any more."""
    _lua().execute("collectgarbage()")


class Valkey:
    """One server. ``clock`` gives seconds since the epoch, for TIME and for what expires."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.values: dict[str, Any] = {}
        self._expiry: dict[str, float] = {}
        self._expires_at = 0.0  # nothing does any earlier
        self._commands = {
            name.upper(): getattr(self, f"_{name}")
            for name in (
                *("get", "mget", "set", "del", "exists", "pexpire", "pttl", "time"),
                *("setbit", "getbit", "bitcount"),
                *("hget", "hset", "hsetnx", "hdel", "hgetall", "hkeys", "hlen", "hexists"),
                *("hmget", "hincrby", "hincrbyfloat"),
                *("sadd", "srem", "smembers", "rpush", "rpushx", "lrange", "lpop"),
                *("zadd", "zrem", "zcard", "zrange", "scan"),
            )
        }

    def remember(self) -> Any:
        """What ``restore`` goes back to."""
        return copy.deepcopy((self.values, self._expiry))

    def restore(self, remembered: Any) -> None:
        self.values, self._expiry = copy.deepcopy(remembered)
        self._expires_at = 0.0

    def wipe(self) -> None:
        self.values, self._expiry = {}, {}

    def execute(self, name: str, *args: Any) -> Reply:
        """One command: integers, text, None, or lists of them."""
        self._expire()
        return self._commands[name](*map(_text, args))

    def run(self, script: str, args: list[str]) -> Reply:
        """One script."""
        # Not kept: a cycle through Lua is one that no collector sees, and this holds a whole world.
        commands = _lua().table_from({"call": self._call_from_lua})
        return _from_lua(_compiled(script)(commands, _lua().table_from(args)))

    def _call_from_lua(self, name: str, *args: Any) -> Any:
        return _to_lua(self.execute(name, *args))

    def _expire(self) -> None:
        if self._expiry:
            now = self._clock()
            if now >= self._expires_at:
                for key in [key for key, end in self._expiry.items() if end <= now]:
                    self._del(key)
                self._expires_at = min(self._expiry.values(), default=0.0)

    def _get(self, key: str) -> str | None:
        return self.values.get(key)

    def _mget(self, *keys: str) -> list[str | None]:
        return [self._get(key) for key in keys]

    def _set(self, key: str, value: str, *options: str) -> str | None:
        if "NX" in options and key in self.values:
            return None
        self._del(key)
        self.values[key] = value
        if "PX" in options:
            self._pexpire(key, options[options.index("PX") + 1])
        return "OK"

    def _del(self, *keys: str) -> int:
        for key in keys:
            self._expiry.pop(key, None)
        return sum(self.values.pop(key, None) is not None for key in keys)

    def _exists(self, key: str) -> int:
        return int(key in self.values)

    def _pexpire(self, key: str, milliseconds: str) -> int:
        if key in self.values:
            self._expiry[key] = end = self._clock() + int(milliseconds) / 1000
            self._expires_at = min(self._expires_at, end)
        return int(key in self.values)

    def _pttl(self, key: str) -> int:
        if key not in self.values:
            return -2
        return round((self._expiry[key] - self._clock()) * 1000) if key in self._expiry else -1

    def _time(self) -> list[str]:
        seconds, rest = divmod(round(self._clock() * 1_000_000), 1_000_000)
        return [str(seconds), str(rest)]

    def _scan(self, _cursor: str, _match: str, pattern: str, *_: str) -> list[Any]:
        return ["0", [key for key in self.values if key.startswith(pattern.removesuffix("*"))]]

    def _setbit(self, key: str, bit: str, value: str) -> int:
        bits, number = self.values.setdefault(key, Bits()), int(bit)
        before = int(number in bits)
        (bits.add if value == "1" else bits.discard)(number)
        return before

    def _getbit(self, key: str, bit: str) -> int:
        return int(int(bit) in self.values.get(key, ()))

    def _bitcount(self, key: str, *span: str) -> int:
        first, last = (int(span[0]), int(span[1])) if span else (0, 2**32)
        return sum(first <= bit <= last for bit in self.values.get(key, ()))

    def _hash(self, key: str) -> dict[str, str]:
        return self.values.get(key, {})

    def _hget(self, key: str, field: str) -> str | None:
        return self._hash(key).get(field)

    def _hset(self, key: str, *pairs: str) -> int:
        fields, before = self.values.setdefault(key, {}), len(self._hash(key))
        fields.update(zip(pairs[::2], pairs[1::2], strict=True))
        return len(fields) - before

    def _hsetnx(self, key: str, field: str, value: str) -> int:
        return 0 if field in self._hash(key) else self._hset(key, field, value)

    def _hdel(self, key: str, *fields: str) -> int:
        return self._without(key, fields, self._hash(key).pop)

    def _hgetall(self, key: str) -> list[str]:
        return [part for pair in self._hash(key).items() for part in pair]

    def _hkeys(self, key: str) -> list[str]:
        return list(self._hash(key))

    def _hlen(self, key: str) -> int:
        return len(self._hash(key))

    def _hexists(self, key: str, field: str) -> int:
        return int(field in self._hash(key))

    def _hmget(self, key: str, *fields: str) -> list[str | None]:
        return [self._hash(key).get(field) for field in fields]

    def _hincrby(self, key: str, field: str, amount: str) -> int:
        value = int(self._hash(key).get(field, 0)) + int(amount)
        self._hset(key, field, str(value))
        return value

    def _hincrbyfloat(self, key: str, field: str, amount: str) -> str:
        value = f"{float(self._hash(key).get(field, 0)) + float(amount):.17g}"
        self._hset(key, field, value)
        return value

    def _sadd(self, key: str, *members: str) -> int:
        there = self.values.setdefault(key, {})
        new = [member for member in members if member not in there]
        there.update(dict.fromkeys(new))
        return len(new)

    def _srem(self, key: str, *members: str) -> int:
        return self._without(key, members, self.values.get(key, {}).pop)

    def _smembers(self, key: str) -> list[str]:
        return list(self.values.get(key, ()))

    def _rpush(self, key: str, *values: str) -> int:
        there: list[str] = self.values.setdefault(key, [])
        there.extend(values)
        return len(there)

    def _rpushx(self, key: str, *values: str) -> int:
        return self._rpush(key, *values) if key in self.values else 0

    def _lrange(self, key: str, first: str, last: str) -> list[str]:
        assert int(last) >= 0
        return list(self.values.get(key, ()))[int(first) : int(last) + 1]

    def _lpop(self, key: str, count: str) -> list[str] | None:
        there = self.values.get(key)
        if there is None:
            return None
        taken = there[: int(count)]
        del there[: int(count)]
        self._drop_empty(key)
        return taken

    def _zadd(self, key: str, score: str, member: str) -> int:
        scores = self.values.setdefault(key, {})
        is_new = member not in scores
        scores[member] = float(score)
        return int(is_new)

    def _zrem(self, key: str, *members: str) -> int:
        return self._without(key, members, self.values.get(key, {}).pop)

    def _zcard(self, key: str) -> int:
        return len(self.values.get(key, ()))

    def _zrange(self, key: str, first: str, last: str, *by: str) -> list[str]:
        scores = self.values.get(key, {})
        ordered = sorted(scores, key=lambda member: (scores[member], member))
        if by:
            return [m for m in ordered if float(first) <= float(scores[m]) <= float(last)]
        end = len(ordered) + int(last) if int(last) < 0 else int(last)
        return ordered[int(first) : end + 1]

    def _without(self, key: str, members: tuple[str, ...], pop: Callable[..., Any]) -> int:
        missing = object()
        removed = sum(pop(member, missing) is not missing for member in members)
        self._drop_empty(key)
        return removed

    def _drop_empty(self, key: str) -> None:
        if key in self.values and not self.values[key]:
            self._del(key)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else format(value, ".17g")


def _to_lua(reply: Reply) -> Any:
    if reply is None:
        return False
    if isinstance(reply, list):
        return _lua().table_from([_to_lua(part) for part in reply])
    return reply


def _from_lua(value: Any) -> Reply:
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return value
    if lua51.lua_type(value) == "table":
        return [_from_lua(part) for part in value.values()]
    return 1 if value is True else None
