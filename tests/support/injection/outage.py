"""Taking a part of a stack away, for as long as a test wants."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from producer.stack.home import find_home
from producer.stack.local.services import buckets_ready, valkey_answers
from producer.stack.local.states import role_of
from producer.stack.local.supervisor import Supervisor
from producer.stack.record import load_record
from shared.settings import load_settings
from tests.support.stack import Stack
from tests.support.waiting import wait_for


@contextmanager
def killed(stack: Stack, service: str) -> Iterator[None]:
    """SIGKILL ``valkey`` or ``seaweedfs``; it is started again when the body ends."""
    kill_for_good(stack, service)
    try:
        yield
    finally:
        settings = load_settings(stack.home)
        _supervisor(stack).start(service)
        answers = valkey_answers if service == "valkey" else buckets_ready
        wait_for(lambda: answers(settings), what=f"{service} again", deadline_seconds=60)


def kill_for_good(stack: Stack, service: str) -> None:
    """SIGKILL a service, which then is not started again."""
    supervisor = _supervisor(stack)
    pid = supervisor.pids()[service]
    os.kill(pid, signal.SIGSTOP)  # so that it cannot end in good order when it is told to stop,
    supervisor.ask_to_stop(service)  # and the supervisor leaves it dead
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: service not in supervisor.pids(), what=f"the death of {service}")


@contextmanager
def frozen(stack: Stack, role: str) -> Iterator[None]:
    """SIGSTOP a role's processes, and SIGCONT when the body ends."""
    pids = [pid for name, pid in _supervisor(stack).pids().items() if role_of(name) == role]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _supervisor(stack: Stack) -> Supervisor:
    sockets = load_record(find_home(stack.home)).sockets
    assert sockets is not None
    return Supervisor(sockets)
