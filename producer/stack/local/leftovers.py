"""Processes of a stack that nobody supervises any more, as after a SIGKILL of supervisord."""

from __future__ import annotations

import os
from collections.abc import Collection

import psutil

from producer.stack.home import Home

SERVICES = {"valkey", "seaweedfs"}
SUPERVISOR = "supervisord"


def find_processes(home: Home) -> dict[int, str]:
    """Name by pid of every living process that was started for this home, by its environment."""
    found: dict[int, str] = {}
    for process in psutil.process_iter():
        try:
            if process.uids().real != os.getuid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            environment = process.environ()
        except (psutil.Error, OSError):
            continue
        name = environment.get("HEADRACE_PROCESS")
        if name and environment.get("HEADRACE_HOME") == str(home.root):
            found[process.pid] = name
    found.pop(os.getpid(), None)
    return found


def end_leftovers(home: Home, grace_seconds: float) -> list[str]:
    """End what still runs: the supervisor first, then roles, then services. Returns the names.

    Each gets SIGTERM, and SIGKILL after ``grace_seconds``.
    """
    found = find_processes(home)
    supervisors = [pid for pid, name in found.items() if name == SUPERVISOR]
    services = [pid for pid, name in found.items() if name in SERVICES]
    roles = [pid for pid in found if pid not in {*supervisors, *services}]
    _end(supervisors, 0)  # it would start again what we end
    _end(roles, grace_seconds)
    _end(services, grace_seconds)
    return sorted(found.values())


def end_orphans(home: Home, names: Collection[str]) -> None:
    """Kill what processes of these names started and left behind. They have ended themselves."""
    _end([pid for pid, name in find_processes(home).items() if name in names], 0)


def _end(pids: list[int], grace_seconds: float) -> None:
    processes = []
    for pid in pids:
        try:
            process = psutil.Process(pid)
            process.terminate() if grace_seconds else process.kill()
            processes.append(process)
        except psutil.NoSuchProcess:
            continue
    _, stubborn = psutil.wait_procs(processes, timeout=grace_seconds or None)
    for process in stubborn:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(stubborn, timeout=10)
