"""Who may do what at a RabbitMQ, with a user for each role.

``python -m producer.stack.rights.rabbitmq_users VHOST`` prints the commands that make them.

RabbitMQ judges queues and exchanges by their names: *configure* declares and deletes, *write* sends
to an exchange or binds a queue, *read* takes from a queue, empties it or binds to an exchange. All
messages go through the exchange without a name, so that who may send at all may send to any queue.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from shared.environment import settle

if __name__ == "__main__":
    settle()

from producer.stack.rights.broker_users import ADMIN
from producer.stack.roles import ROLES, Role
from shared.stages import STAGES, Stage, stage_queues

# The name under which the exchange without a name is judged.
_DIRECT = "amq.default"
# Celery's events (workers tell, Flower listens) and remote control (Flower asks, workers answer).
_EVENTS, _EVENT_QUEUES = "celeryev", "celeryev.*"
_QUESTIONS, _QUESTION_QUEUES = "celery.pidbox", "*@*.celery.pidbox"
_ANSWERS, _ANSWER_QUEUES = "reply.celery.pidbox", "*.reply.celery.pidbox"


@dataclass(frozen=True, slots=True)
class Rights:
    """One user's three patterns, in the order in which RabbitMQ wants them."""

    configure: str
    write: str
    read: str


def rabbitmq_rights() -> dict[str, Rights]:
    """The rights of every role, and of the command line under ``admin``."""
    replays = _rights(_queues(STAGES.values()), [_DIRECT], [])  # dead letters
    return {ADMIN: replays, **{role.name: _of_role(role) for role in ROLES.values()}}


def _of_role(role: Role) -> Rights:
    own, sends_to = _queues(role.stages), _queues(role.sends_to)
    discards_from = _queues(role.discards_from)  # reading is what emptying a queue needs
    if role.is_observer:
        return _rights(
            [_EVENTS, _EVENT_QUEUES, _QUESTIONS, _ANSWERS, _ANSWER_QUEUES],
            [_EVENT_QUEUES, _QUESTIONS, _ANSWER_QUEUES],
            [_EVENTS, _EVENT_QUEUES, _ANSWERS, _ANSWER_QUEUES],
        )
    if own:
        return _rights(
            [*own, *sends_to, _EVENTS, _QUESTIONS, _QUESTION_QUEUES, _ANSWERS],
            [_DIRECT, _EVENTS, _QUESTION_QUEUES, _ANSWERS],
            [*own, *discards_from, _QUESTIONS, _QUESTION_QUEUES],
        )
    return _rights(sends_to, [_DIRECT] if sends_to else [], discards_from)


def _queues(stages: Iterable[Stage]) -> list[str]:
    """The queues of these stages, of all lanes and hosts."""
    return [name for stage in stages for name in stage_queues(stage, "*")]


def _rights(*names: list[str]) -> Rights:
    return Rights(*map(_pattern, names))


def _pattern(names: list[str]) -> str:
    """Just these names, ``*`` being any text."""
    return "^(" + "|".join(re.escape(name).replace(r"\*", ".+") for name in names) + ")$"


def commands(vhost: str) -> Iterable[str]:
    """What an administrator of RabbitMQ types; it asks for each password."""
    for name, rights in rabbitmq_rights().items():
        yield f"rabbitmqctl add_user {name}"
        allowed = (rights.configure, rights.write, rights.read)
        yield shlex.join(("rabbitmqctl", "set_permissions", "-p", vhost, name, *allowed))


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in commands(*(sys.argv[1:] or ["/"])))
