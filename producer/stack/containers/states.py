"""The state of every container of a stack, as ``ps`` and ``info`` show it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from producer.stack.containers.compose import Compose
from producer.stack.home import find_home
from producer.stack.process_state import ProcessState
from producer.stack.roles import ROLES

# One-shot: it is no process of the stack.
SETUP = "setup"
# Started again this often, a container is broken and not merely slow.
MANY_RESTARTS = 3
_GPU = "-gpu"
_STATES = {"restarting": "backoff", "paused": "suspended", "created": "stopped", "dead": "fatal"}


def processes(home: Path) -> list[ProcessState]:
    """Every container of the stack in ``home``; none where it is not up."""
    containers = Compose(find_home(home)).containers()
    found = [container for container in containers if service_of(container) != SETUP]
    return sorted(map(_state, found), key=lambda process: process.name)


def service_of(container: dict[str, Any]) -> str:
    """The service in ``docker-compose.yml``."""
    return str(container["Config"]["Labels"]["com.docker.compose.service"])


def name_of(container: dict[str, Any]) -> str:
    """As Compose's own logs name it: ``preprocess-2``."""
    number = container["Config"]["Labels"]["com.docker.compose.container-number"]
    return f"{service_of(container)}-{number}"


def role_of(service: str) -> str:
    """The role of a service: that on GPUs has a service of its own."""
    return service.removesuffix(_GPU)


def service(role: str, *, on_gpu: bool) -> str:
    """The service that runs a role."""
    return f"{role}{_GPU}" if on_gpu and ROLES[role].has_gpu_service else role


def is_well(container: dict[str, Any]) -> bool:
    """Whether it runs and its health check passes; of setup, whether it has ended well."""
    state = container["State"]
    if service_of(container) == SETUP:
        return bool(state["Status"] == "exited" and state["ExitCode"] == 0)
    return bool(state["Status"] == "running" and _health(state) in ("healthy", "none"))


def is_ill(container: dict[str, Any]) -> bool:
    """Whether waiting will not help: it has ended, keeps ending, or its health check fails."""
    state = container["State"]
    if state["Error"] or state["Status"] in ("exited", "dead"):
        return not is_well(container)
    return bool(container["RestartCount"] >= MANY_RESTARTS or _health(state) == "unhealthy")


def _health(state: dict[str, Any]) -> str:
    return str((state.get("Health") or {}).get("Status", "none"))


def _state(container: dict[str, Any]) -> ProcessState:
    state = container["State"]
    status = _STATES.get(state["Status"], state["Status"])
    if status == "running" and not is_well(container):
        status = "starting" if _health(state) == "starting" else "unhealthy"
    role = role_of(service_of(container))
    return ProcessState(
        role=role,
        name=name_of(container),
        pid=state["Pid"],
        state=status,
        uptime_seconds=_uptime_seconds(state) if state["Pid"] else 0.0,
        lease_name=f"{role}-{container['Config']['Hostname']}",
    )


def _uptime_seconds(state: dict[str, Any]) -> float:
    started = datetime.fromisoformat(state["StartedAt"][:19]).replace(tzinfo=UTC)
    return (datetime.now(UTC) - started).total_seconds()
