"""Who may do what at the broker: one Valkey user a role, each with its own commands and keys.

What differs between roles is in their rows; here is what follows from them.

A user has rules of its own and, in parentheses, selectors: a command passes where one of them
allows it with all of its keys. What a script does is checked like what its caller sends, so roles
need every key that their ledger scripts touch; since those build their keys themselves, a role
could also write such a key without the script.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from producer.stack.roles import ROLES, Role
from shared.stages import STAGES, Stage, stage_queues

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

_READ = (
    "+get +mget +exists +pttl +hget +hmget +hgetall +hkeys +hlen +hexists +zrange +zcard +smembers"
)
_LEDGER = (
    f"{_READ} +getbit +bitcount +set +del +pexpire +hset +hsetnx +hdel +hincrby +hincrbyfloat"
    " +zadd +zrem +sadd +srem +setbit"
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

# Flower hears events, asks workers and reads their answers.
_OBSERVE = (
    "(+brpop +rpop +lpush +llen +del +exists +pexpire ~*.reply.celery.pidbox)"
    " (+brpop +rpop +llen +del +exists +pexpire ~celeryev.*)"
    " (+publish &/0.celery.pidbox)"
)


def acl_file(passwords: Mapping[str, str]) -> str:
    """The ACL file with a user for each password, which it holds as a digest only.

    ``passwords`` are by role, and the command line's under ``admin``. Raises KeyError for a
    name that no role has.
    """
    rules = {ADMIN: "~* &* +@all", **{role.name: _rules(role) for role in ROLES.values()}}
    lines = [_DEFAULT]
    for name, password in passwords.items():
        digest = hashlib.sha256(password.encode()).hexdigest()
        lines.append(f"user {name} on #{digest} resetchannels {rules[name]}")
    return "\n".join(lines) + "\n"


def _rules(role: Role) -> str:
    rules = [f"-@all {_CONNECTION} {_TRANSACTION} {_SCRIPTS}"]
    if role.ledger_keys:
        rules.append(f"({_LEDGER} {role.ledger_keys})")
    if role.counts_messages:
        rules.append(_selector("+llen", "%R~", STAGES.values()))
    rules += [
        _selector(_CONSUME, "~", role.stages),
        _selector("+lpush", "%W~", role.sends_to),
        _selector("+del", "%W~", role.discards_from),
    ]
    if role.stages:
        rules += [_BIND, _ANSWER, _TELL, _MAILBOX, _BURY, _SUBSCRIBER.format("/0.celery.pidbox")]
    if role.is_observer:
        rules += [_BIND, _OBSERVE, _SUBSCRIBER.format("/0.celeryev/*")]
    return " ".join(filter(None, (*rules, *role.broker_rules)))


def _selector(commands: str, access: str, stages: Iterable[Stage]) -> str:
    """These commands on the queues of these stages, of all lanes and hosts.

    One selector has all of them: a worker waits for several queues with one command.
    """
    names = [name for stage in stages for name in stage_queues(stage, "*")]
    return f"({' '.join((commands, *(access + name for name in names)))})" if names else ""
