"""What the stack runs, as a table: the services, our roles, and Flower."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from producer.stack.ports import HOST
from producer.stack.record import StackRecord
from producer.stack.roles import Role, default_scale, working_roles
from producer.stack.settings_file import FLOWER_CONFIG, role_settings_file
from shared.errors import UsageError
from shared.settings import SETTINGS_FILE_VARIABLE

WORKER_STOP_SECONDS = 120
SERVICE_STOP_SECONDS = 30
MAX_PROCESSES = 64


@dataclass(frozen=True, slots=True)
class Program:
    """One kind of process. ``is_role``: it is one of ours, so it scales and holds a lease."""

    role: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_seconds: int = WORKER_STOP_SECONDS
    is_role: bool = True


def role_programs() -> tuple[Program, ...]:
    """The program of every role that scales."""
    return tuple(map(_program, working_roles()))


def _program(role: Role) -> Program:
    own = {SETTINGS_FILE_VARIABLE: str(role_settings_file(role.name))}
    return Program(role.name, (sys.executable, "-m", role.module), own)


def flower(record: StackRecord) -> Program:
    """Flower, which reads the broker's address from the settings like every worker."""
    port = record.ports["flower"]
    return Program(
        "flower",
        (
            *(sys.executable, "-m", "producer.stack.dashboard", FLOWER_CONFIG),
            *(f"--address={HOST}", f"--port={port}"),
        ),
        {SETTINGS_FILE_VARIABLE: str(role_settings_file("flower"))},
        stop_seconds=10,
        is_role=False,
    )


def process_names(program: Program, scale: Mapping[str, int]) -> list[str]:
    """The names of a program's processes: those of roles are numbered."""
    if not program.is_role:
        return [program.role]
    return [f"{program.role}-{number + 1}" for number in range(scale.get(program.role, 0))]


def chosen_scale(
    record: StackRecord, roles: Sequence[Program], workers: Mapping[str, int] | None
) -> dict[str, int]:
    """How many processes of each role: as before, but for those that ``workers`` names.

    Raises UsageError for a role that is none, or a number that is too large.
    """
    known = {program.role: default_scale().get(program.role, 1) for program in roles}
    for role, count in (workers or {}).items():
        if role not in known:
            raise UsageError(
                "unknown_role",
                f"There is no role {role!r} to scale.",
                f"Roles: {', '.join(known)}.",
            )
        if not 0 <= count <= MAX_PROCESSES:
            raise UsageError(
                "bad_scale",
                f"{role}={count} is no number of processes.",
                f"Take 0 to {MAX_PROCESSES}.",
            )
    return {role: {**known, **record.scale, **(workers or {})}[role] for role in known}
