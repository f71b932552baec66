"""The state of every process of a stack, as ``ps`` and ``info`` show it."""

from __future__ import annotations

import http.client
import xmlrpc.client
from pathlib import Path
from typing import Any

import psutil

from producer.stack.home import find_home
from producer.stack.local.supervisor import Supervisor
from producer.stack.process_state import ProcessState
from producer.stack.record import load_record


def processes(home: Path) -> list[ProcessState]:
    """Every process of the stack in ``home``; none where it is not up."""
    record = load_record(find_home(home))
    if record.sockets is None:
        return []
    try:
        found = Supervisor(record.sockets).info()
    except (OSError, http.client.HTTPException, xmlrpc.client.Error):
        return []
    return sorted(map(_state, found), key=lambda process: process.name)


def role_of(name: str) -> str:
    """The role in a process's name: ``preprocess-2`` is of ``preprocess``."""
    role, _, number = name.rpartition("-")
    return role if number.isdigit() else name


def _state(info: dict[str, Any]) -> ProcessState:
    pid, state = info["pid"], info["statename"].lower()
    if pid and _is_suspended(pid):
        state = "suspended"
    uptime_seconds = float(info["now"] - info["start"]) if pid else 0.0
    return ProcessState(role_of(info["name"]), info["name"], pid, state, uptime_seconds)


def _is_suspended(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False
