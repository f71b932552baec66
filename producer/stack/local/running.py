"""A stack that runs: bringing its processes to what the record says, and stopping them."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import psutil

from producer import Echo
from producer.stack.home import Home
from producer.stack.local.leftovers import SERVICES, end_orphans
from producer.stack.local.readiness import Watch, answers_http, without_lease
from producer.stack.local.services import buckets_ready, services, valkey_answers
from producer.stack.local.states import role_of
from producer.stack.local.supervisor import Supervisor, write_config
from producer.stack.ports import HOST
from producer.stack.programs import Program, observer_programs, process_names
from producer.stack.record import StackRecord
from producer.stack.roles import stop_order
from shared.broker.queues import prepare_queues
from shared.settings import Settings

POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class RunningStack:
    """Acts on the processes of one stack through its supervisor, which has to run."""

    home: Home
    record: StackRecord
    roles: Sequence[Program]
    supervisor: Supervisor

    def write_config(self) -> None:
        """Write the configuration of the services and of the supervisor."""
        own = (*self.roles, *observer_programs(self.record))
        programs = [*services(self.home, self.record), *own]
        processes = [
            (name, program)
            for program in programs
            for name in process_names(program, self.record.scale)
        ]
        assert self.record.sockets is not None
        write_config(self.home, self.record.sockets, processes)

    def reload(self) -> None:
        """Take up a new configuration: what is no longer in it stops, nothing starts."""
        self.write_config()
        stop_first, add_after = self.supervisor.reload()
        self.stop(stop_first)
        for name in stop_first:
            self.supervisor.remove(name)
        for name in add_after:
            self.supervisor.add(name)

    def start_services(self, watch: Watch, settings: Settings) -> None:
        """Start Valkey and SeaweedFS, and return when both answer and our buckets are there.

        Raises HeadraceError, too, where the broker is a RabbitMQ that does not take us.
        """
        prepare_queues(settings)
        self.start(["valkey", "seaweedfs"])
        watch.until(lambda _: [] if valkey_answers(settings) else ["valkey"])
        watch.until(lambda _: [] if buckets_ready(settings) else ["seaweedfs"])

    def start_roles(self, watch: Watch, settings: Settings) -> None:
        """Start every role, and return when the leases stand and the observers answer."""
        scale, ports = self.record.scale, self.record.ports
        pages = {
            program.role: f"http://{HOST}:{ports[program.role]}"
            for program in observer_programs(self.record)
        }
        names = [name for program in self.roles for name in process_names(program, scale)]
        self.start([*names, *pages])
        watch.until(without_lease(settings, names))
        watch.until(lambda _: [name for name, url in pages.items() if not answers_http(url)])

    def start(self, names: Collection[str]) -> None:
        """Start those that do not run, without waiting."""
        for name in names:
            self.supervisor.start(name)

    def stop(self, names: Collection[str]) -> None:
        """Stop processes and wait: each finishes what it has in hand. What they started ends."""
        while running := [info for info in self.supervisor.info() if _runs(info, names)]:
            for info in running:
                if info["statename"] != "STOPPING":
                    self.supervisor.ask_to_stop(info["name"])
            time.sleep(POLL_SECONDS)
        if names:
            end_orphans(self.home, names)

    def stop_all(self, echo: Echo) -> None:
        """Stop everything in order, and the supervisor at last."""
        known = [info["name"] for info in self.supervisor.info()]
        order: list[Collection[str]] = [*stop_order(), SERVICES]
        ordered = {role for group in order for role in group}
        self.stop([name for name in known if role_of(name) not in ordered])
        for group in order:
            names = [name for name in known if role_of(name) in group]
            echo(f"Stopping {', '.join(names)}.") if names else None
            self.stop(names)
        supervisor_pid = self.supervisor.call("getPID")
        self.supervisor.call("shutdown")
        while _is_alive(supervisor_pid):
            time.sleep(POLL_SECONDS)


def _runs(info: dict[str, object], names: Collection[str]) -> bool:
    """Whether a process runs or will again. The supervisor notices a death up to 1 s late."""
    if info["name"] not in names or info["statename"] in ("STOPPED", "FATAL"):
        return False
    return info["statename"] != "STOPPING" or _is_alive(int(str(info["pid"])))


def _is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
