"""Starting, stopping and changing a stack: one command at a time, held by the home's lock."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from producer import Echo
from producer.stack.home import Home, find_home, locked, prepare_home, socket_directory
from producer.stack.local.leftovers import end_leftovers
from producer.stack.local.open_files import allow_open_files
from producer.stack.local.readiness import Watch
from producer.stack.local.running import RunningStack
from producer.stack.local.states import role_of
from producer.stack.local.supervisor import Supervisor, start
from producer.stack.ports import choose_ports, choosing, port_names
from producer.stack.programs import Program, chosen_scale, role_programs
from producer.stack.record import StackRecord, load_record, save_record
from producer.stack.ring import plan_ring, ring_directories
from producer.stack.settings_file import write_settings
from shared.errors import UsageError
from shared.settings import Settings

START_SECONDS = 90.0
LEFTOVER_GRACE_SECONDS = 10.0


def up(
    home: Path,
    workers: Mapping[str, int] | None,
    echo: Echo,
    roles: Sequence[Program] | None = None,
    timeout_seconds: float = START_SECONDS,
) -> Settings:
    """Bring the stack up, or to the given number of processes by role; idempotent.

    Returns when every process holds a live lease and the observers answer. Raises HeadraceError,
    and then, as after Ctrl-C, what did not run before does not run. ``roles``: those of the table.
    """
    roles = role_programs() if roles is None else roles
    place = prepare_home(home)
    with locked(place, echo):
        before = load_record(place)
        record = before.model_copy(
            deep=True, update={"scale": chosen_scale(before, roles, workers)}
        )
        if before.sockets and Supervisor(before.sockets).is_running():
            return _up_warm(place, before, record, roles, timeout_seconds)
        return _up_cold(place, record, roles, echo, timeout_seconds)


def _up_cold(
    home: Home, record: StackRecord, roles: Sequence[Program], echo: Echo, timeout_seconds: float
) -> Settings:
    from shared.staging import create_ring

    allow_open_files()
    try:
        _clear(home, record, echo)
        record.sockets = socket_directory(home)
        with choosing() as claim:
            record.ports = choose_ports(record.ports, echo, claim, port_names())
            record.ring = plan_ring(home, echo)
            settings = write_settings(home, record)
            create_ring(settings.ring)
            supervisor = Supervisor(record.sockets)
            stack = RunningStack(home, record, roles, supervisor)
            stack.write_config()
            save_record(home, record)
            start(home)
            watch = Watch(home, supervisor, timeout_seconds)
            stack.start_services(watch, settings)
            stack.start_roles(watch, settings)
    except BaseException:
        _clear(home, record, lambda _: None)
        raise
    return settings


def _up_warm(
    home: Home,
    before: StackRecord,
    record: StackRecord,
    roles: Sequence[Program],
    timeout_seconds: float,
) -> Settings:
    assert record.sockets is not None
    supervisor = Supervisor(record.sockets)
    running = supervisor.pids()
    stack = RunningStack(home, record, roles, supervisor)
    try:
        settings = write_settings(home, record)
        stack.reload()
        save_record(home, record)
        watch = Watch(home, supervisor, timeout_seconds)
        stack.start_services(watch, settings)
        stack.start_roles(watch, settings)
    except BaseException:
        save_record(home, before)
        stack.stop([name for name in supervisor.pids() if name not in running])
        RunningStack(home, before, roles, supervisor).reload()
        raise
    return settings


def down(home: Path, echo: Echo = lambda _: None) -> None:
    """Stop the stack: workers first, finishing what they have in hand. Its data stays."""
    place = find_home(home)
    if not place.run.is_dir():
        return
    with locked(place, echo):
        record = load_record(place)
        if record.sockets and (supervisor := Supervisor(record.sockets)).is_running():
            RunningStack(place, record, (), supervisor).stop_all(echo)
        _clear(place, record, echo)


def scale(
    home: Path, role: str, count: int, echo: Echo, roles: Sequence[Program] | None = None
) -> None:
    """Run ``count`` processes of a role from now on. Raises UsageError where no stack is up."""
    _require_running(home)
    up(home, {role: count}, echo, roles)


def restart(home: Path, role: str, echo: Echo, roles: Sequence[Program] | None = None) -> None:
    """Stop the processes of a role in good order and start them again.

    ``role`` may name a service, or one process. Raises UsageError where there is none such.
    """
    supervisor = _require_running(home)
    place = find_home(home)
    with locked(place, echo):
        names = [info["name"] for info in supervisor.info()]
        chosen = [name for name in names if role in (name, role_of(name))]
        if not chosen:
            known = ", ".join(sorted({role_of(name) for name in names}))
            raise UsageError("unknown_role", f"There is no role {role!r}.", f"Roles: {known}.")
        RunningStack(place, load_record(place), (), supervisor).stop(chosen)
    up(home, None, echo, roles)


def _require_running(home: Path) -> Supervisor:
    record = load_record(find_home(home))
    if record.sockets and (supervisor := Supervisor(record.sockets)).is_running():
        return supervisor
    raise UsageError("no_stack", f"No stack is up in {home}.", "Run 'headrace up' first.")


def _clear(home: Home, record: StackRecord, echo: Echo) -> None:
    """End what still runs unsupervised, and remove the ring and the sockets."""
    ended = end_leftovers(home, LEFTOVER_GRACE_SECONDS)
    if ended:
        echo(f"Ended what an earlier run had left: {', '.join(ended)}.")
    for directory in filter(None, (*ring_directories(home), record.sockets)):
        shutil.rmtree(directory, ignore_errors=True)
