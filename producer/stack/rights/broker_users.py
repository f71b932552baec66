"""Who may do what at the broker: one Valkey user a role, each with its own commands and keys.

A user has rules of its own and, in parentheses, selectors: a command passes where one of them
allows it with all of its keys. What a script does is checked like what its caller sends, so roles
need every key that their ledger scripts touch; since those build their keys themselves, a role
could also write such a key without the script.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from shared.stages import INFERENCE, PREPROCESS, RESULTS, queues, stage_queues

ADMIN = "admin"

# Off, so that nobody can be it. Its rights matter all the same: Redis, unlike Valkey, reads its
# append-only file as this user, and would leave out every transaction and every script of it.
_DEFAULT = "user default off resetpass ~* &* +@all"
# What any connection may do, and scripts by their digest: EVAL is not needed.
# Redis 7.0 has no CLIENT SETINFO, which newer clients send, and takes no rule that names it: hence
# CLIENT without everything that concerns other connections or what this one is told.
_CLIENT = (
    "+client -client|kill -client|list -client|info -client|getname -client|pause -client|unpause"
    " -client|unblock -client|reply -client|no-evict -client|tracking -client|trackinginfo"
    " -client|caching -client|getredir"
)
_CONNECTION = f"+auth +hello +ping +select +quit +reset {_CLIENT}"
_TRANSACTION = "+multi +exec +discard +unwatch"
_SCRIPTS = "+evalsha +script|load +script|exists +time"
_SUBSCRIBER = "(+psubscribe +punsubscribe +subscribe +unsubscribe &{})"

_READ = "+get +exists +pttl +hget +hmget +hgetall +hkeys +hlen +hexists +zrange +zcard +smembers"
_LEDGER = (
    f"{_READ} +getbit +bitcount +set +del +pexpire +hset +hsetnx +hdel +hincrby +hincrbyfloat"
    " +zadd +zrem +sadd +srem +setbit"
)
_STAGE_KEYS = (
    "%R~hr:incarnation %R~hr:job:* ~hr:stale ~hr:workers ~hr:lease:* ~hr:held:* ~hr:queued:*"
    " ~hr:waiting ~hr:refused ~hr:*:live ~hr:*:trial:*"
)
# Taking messages, and putting back what was taken and not begun.
_CONSUME = "+brpop +rpop +lpush +rpush +llen +exists"
# Celery's remote control (Flower asks, workers answer) and events (workers tell, Flower listens).
_BIND = (
    "(+evalsha +sadd +srem +smembers +exists +del +zadd +zrem +zrangebyscore"
    " ~_kombu.binding.celery.pidbox ~_kombu.binding.reply.celery.pidbox ~_kombu.binding.celeryev"
    " ~_kombu.binding_deadlines ~_kombu.binding_permanent.*)"
)
_ANSWER = "(+lpush %W~*.reply.celery.pidbox)"
_TELL = "(+publish &/0.celeryev/worker.* &/0.celeryev/task.*)"
_MAILBOX = "(+llen +del +exists +pexpire ~*@*.celery.pidbox)"
# Adding dead letters, and moving the oldest on.
_BURY = (
    "(+hget %R~dead:replays) (+set +get +expire ~dead:mover)"
    " (+evalsha +zadd +zrem +zcard +zrange +hset +hget +hdel +hstrlen +get +incrby +decrby"
    " ~dead:order ~dead:letters ~dead:raw ~dead:bytes ~dead:moved ~dead:mover)"
)

# Pixels for devices of other hosts: making room for them and sending them, and reading them.
_STAGE_OUT = "(+hgetall +hset +hdel +del +rpush +rpushx +pexpire ~stage:*)"
_STAGE_IN = "(+lrange +del +hdel ~stage:*)"


def acl_file(passwords: Mapping[str, str]) -> str:
    """The ACL file with a user for each password, which it holds as a digest only.

    ``passwords`` are by role, and the command line's under ``admin``. Raises KeyError for a role
    that is none.
    """
    rules = {ADMIN: "~* &* +@all", **_rules()}
    lines = [_DEFAULT]
    for name, password in passwords.items():
        digest = hashlib.sha256(password.encode()).hexdigest()
        lines.append(f"user {name} on #{digest} resetchannels {rules[name]}")
    return "\n".join(lines) + "\n"


def _rules() -> dict[str, str]:
    first, results = stage_queues(PREPROCESS, "*"), stage_queues(RESULTS, "*")
    inference = stage_queues(INFERENCE, "*")  # of every host
    lengths = _join(*(f"%R~{name}" for name in (*first, *inference, *results)))
    return {
        "producer": _join(
            _basics(),
            f"({_LEDGER} +lpop ~hr:*)",
            "(+scan)",  # names only, but of all keys
            f"(+llen {lengths})",
            *(f"(+del %W~{name})" for name in inference),  # what waits for a host that is gone
            *map(_publish, first),
            *map(_publish, results),  # of chunks that it gives up
        ),
        "preprocess": _join(_worker("preprocess", _STAGE_KEYS, inference), _STAGE_OUT),
        "inference": _join(
            _worker("inference", _STAGE_KEYS, [*results, *first]),
            _STAGE_IN,
            "(+rpush %W~hr:hints)",  # that it has stopped a job
        ),
        "collector": _worker("collector", f"{_STAGE_KEYS} ~hr:jobs ~hr:job:* ~hr:*:done", first),
        "flower": _join(
            _basics(),
            f"(+llen {lengths})",
            _BIND,
            "(+brpop +rpop +lpush +llen +del +exists +pexpire ~*.reply.celery.pidbox)",
            "(+brpop +rpop +llen +del +exists +pexpire ~celeryev.*)",
            "(+publish &/0.celery.pidbox)",
            _SUBSCRIBER.format("/0.celeryev/*"),
        ),
    }


def _worker(role: str, ledger_keys: str, publishes: Iterable[str]) -> str:
    own = [queue.name for queue in queues("*") if queue.stage.role == role]
    return _join(
        _basics(),
        f"({_LEDGER} {ledger_keys})",
        _consume(own),
        *map(_publish, publishes),
        *(_BIND, _ANSWER, _TELL, _MAILBOX, _BURY),
        _SUBSCRIBER.format("/0.celery.pidbox"),
    )


def _basics() -> str:
    return _join("-@all", _CONNECTION, _TRANSACTION, _SCRIPTS)


def _consume(queues: Iterable[str]) -> str:
    """One selector: a worker waits for all of its queues with a single command."""
    return f"({_CONSUME} {_join(*(f'~{queue}' for queue in queues))})"


def _publish(queue: str) -> str:
    return f"(+lpush %W~{queue})"


def _join(*rules: str) -> str:
    return " ".join(rules)
