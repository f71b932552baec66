"""What the stack runs, as a table: the services, the roles that work, and the observers."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from producer.stack.ports import HOST
from producer.stack.record import StackRecord
from producer.stack.roles import WORKER_STOP_SECONDS, Role, default_scale, observers, working_roles
from producer.stack.settings_file import role_settings_file
from shared.errors import UsageError
from shared.settings import SETTINGS_FILE_VARIABLE

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
    return tuple(_program(role, role.arguments, is_role=True) for role in working_roles())


def observer_programs(record: StackRecord) -> tuple[Program, ...]:
    """The program of every observer, which listens on its own port of the record."""
    return tuple(
        _program(
            role,
            [text.format(host=HOST, port=record.ports[role.name]) for text in role.arguments],
            is_role=False,
        )
        for role in observers()
    )


def _program(role: Role, arguments: Sequence[str], *, is_role: bool) -> Program:
    command = (sys.executable, "-m", role.module, *arguments)
    own = {SETTINGS_FILE_VARIABLE: str(role_settings_file(role.name))}
    return Program(role.name, command, own, role.stop_seconds, is_role)


def process_names(program: Program, scale: Mapping[str, int]) -> list[str]:
    """The names of a program's processes: those of roles are numbered."""
    if not program.is_role:
        return [program.role]
    return [f"{program.role}-{number + 1}" for number in range(scale.get(program.role, 0))]


def chosen_scale(
    record: StackRecord, roles: Sequence[Program], workers: Mapping[str, int] | None
) -> dict[str, int]:
    """How many processes of each role: as before, but for those that ``workers`` names.

    Raises UsageError for a name that no role has, or a number that is too large.
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
