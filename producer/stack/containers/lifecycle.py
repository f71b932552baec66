"""Starting, stopping and changing a stack in containers: one command at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from producer import Echo
from producer.stack.containers.broker_place import broker_address
from producer.stack.containers.compose import (
    UNEXPLAINED,
    VARIABLES,
    Compose,
    device,
    docker,
    last_log_line,
    require_engine,
)
from producer.stack.containers.files import DATA_FOLDERS, PORT_NAMES, outside, write_files
from producer.stack.containers.states import is_ill, is_well, name_of, role_of, service, service_of
from producer.stack.home import find_home, locked, prepare_home
from producer.stack.log_filter import TAIL_LINES, names_job
from producer.stack.ports import choose_ports, choosing
from producer.stack.programs import chosen_scale, role_programs
from producer.stack.record import StackRecord, load_record, save_record
from producer.stack.roles import ROLES, WORKER_STOP_SECONDS
from producer.stack.settings_file import write_own_settings
from shared.errors import HeadraceError, UsageError
from shared.settings import Settings

START_SECONDS = 240.0
POLL_SECONDS = 0.5


def up(home: Path, workers: Mapping[str, int] | None, echo: Echo) -> Settings:
    """Bring the stack up, or to the given number of containers by role; idempotent.

    Returns when every container is well. Raises HeadraceError with the last line of one that is
    not; then nothing that is not well goes on, or starts again by itself.
    """
    require_engine()
    place = prepare_home(home, DATA_FOLDERS)
    with locked(place, echo):
        record, compose = load_record(place), Compose(place)
        record.scale = chosen_scale(record, role_programs(), workers)
        with choosing() as claim:
            compose.clear()
            if not compose.containers():
                record.ports = choose_ports(record.ports, echo, claim, PORT_NAMES)
            write_files(place, record)
            save_record(place, record)
            _start(compose, record, echo)
        # Before they are well, so that the other commands can look at what is not.
        settings = write_own_settings(place, record, outside(record, broker_address(compose)))
        _wait(compose)
        return settings


def _start(compose: Compose, record: StackRecord, echo: Echo) -> None:
    on_gpu = device() == "gpu"
    scale = [f"--scale={service(r, on_gpu=on_gpu)}={n}" for r, n in record.scale.items()]
    for role in ROLES.values():
        if role.has_gpu_service:
            compose.remove(service(role.name, on_gpu=not on_gpu))
    try:
        compose.run("up", "--detach", "--build", "--remove-orphans", *scale, echo=echo)
    except HeadraceError as error:
        if error.code == UNEXPLAINED:  # the container that ended says more
            _stop_ill(compose.containers())
        raise


def _wait(compose: Compose) -> None:
    """Return when every container is well; stop those that will not be, and say why."""
    deadline = time.monotonic() + START_SECONDS
    while not all(map(is_well, found := compose.containers())):
        _stop_ill(found)
        if time.monotonic() > deadline:
            late = next(container for container in found if not is_well(container))
            raise _failure(late, f"is not well after {START_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)


def _stop_ill(containers: list[dict[str, Any]]) -> None:
    """Where one is ill, raise the error of the first of them.

    All that are not well are stopped then: what ails one may ail the next, which has not found out
    yet, and would flap unseen and keep a ring that is too small.
    """
    ill = [container for container in containers if is_ill(container) and last_log_line(container)]
    ill.sort(key=lambda container: str(container["State"]["FinishedAt"]), reverse=True)
    if ill:
        docker("stop", *{container["Id"] for container in containers if not is_well(container)})
        raise _failure(ill[0], "does not start")


def _failure(container: dict[str, Any], what: str) -> HeadraceError:
    return HeadraceError(
        "role_failed",
        f"{name_of(container)} {what}: {last_log_line(container) or 'it says nothing.'}",
        f"See 'headrace --profile docker logs {role_of(service_of(container))}'.",
    )


def down(home: Path, echo: Echo = lambda _: None) -> None:
    """Stop and remove the containers, which finish what they have in hand. The data stays."""
    place = find_home(home)
    if not (place.root / VARIABLES).is_file():  # none was ever started
        return
    require_engine()
    with locked(place, echo):
        compose = Compose(place)
        compose.run("down", "--remove-orphans", echo=echo)
        compose.clear()


def scale(home: Path, role: str, count: int, echo: Echo) -> None:
    """Run ``count`` containers of a role from now on. Raises UsageError where no stack is up."""
    _running(home)
    up(home, {role: count}, echo)


def restart(home: Path, role: str, echo: Echo) -> None:
    """Stop the containers of a role in good order and start them again; a name is one of them."""
    found = _running(home)
    chosen = [c for c in found if role in (name_of(c), service_of(c), role_of(service_of(c)))]
    if not chosen:
        known = ", ".join(sorted({role_of(service_of(c)) for c in found}))
        raise UsageError("unknown_role", f"There is no role {role!r}.", f"Roles: {known}.")
    docker(
        "restart", "--time", str(WORKER_STOP_SECONDS), *(container["Id"] for container in chosen)
    )
    up(home, None, echo)


def logs(
    home: Path,
    role: str | None = None,
    follow: bool = False,
    tail: int | None = None,
    job: str | None = None,
) -> Iterator[str]:
    """Yield lines ``container | text``: the last ``tail`` of each, then what is added.

    ``job``: only lines that name it, among those. ``tail`` None: 20, or all for a job.
    """
    found = _running(home)
    services = {service_of(c) for c in found if role in (None, name_of(c), role_of(service_of(c)))}
    if not services:
        raise UsageError("no_log", f"No log of {role}.", "See 'headrace --profile docker ps'.")
    lines = (TAIL_LINES if job is None else "all") if tail is None else tail
    options = ["--no-color", f"--tail={lines}", *(["--follow"] if follow else [])]
    wanted = names_job(job)
    for line in Compose(find_home(home)).lines("logs", *options, *sorted(services)):
        name, _, text = line.partition("|")
        if not wanted(text):
            continue
        if role is None or name.strip() == role or role_of(name.strip().rpartition("-")[0]) == role:
            yield f"{name.strip()} |{text}"


def _running(home: Path) -> list[dict[str, Any]]:
    require_engine()
    if found := Compose(find_home(home)).containers():
        return found
    raise UsageError("no_stack", f"No stack is up in {home}.", "Run 'headrace up' first.")
