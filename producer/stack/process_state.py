"""The state of one process, of either kind of stack."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProcessState:
    """One process. ``pid`` is the one to signal, 0 where none runs.

    ``state``: running, starting, stopping, stopped, exited, backoff, fatal, or suspended for a
    process that somebody has stopped with a signal, which keeps its staging slots; of a container
    also unhealthy. ``lease_name``: that of a container's lease, which knows another pid.
    """

    role: str
    name: str
    pid: int
    state: str
    uptime_seconds: float
    lease_name: str | None = None
