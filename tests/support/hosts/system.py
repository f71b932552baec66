"""One system over two hosts: servers, producer and collector on the first, workers on either.

Everything is set up as README tells users to: a settings file a role, and a ring a host.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import redis

from producer.stack.rights.broker_users import ADMIN
from shared.ledger import Ledger, connect_ledger
from shared.settings import SETTINGS_FILE, load_settings
from tests.support.broker_accounts import add_users, url_as
from tests.support.hosts.namespaces import Namespace
from tests.support.servers import RunningSeaweed, RunningValkey, start_seaweedfs, start_valkey
from tests.support.stack import ROOT, Stack
from tests.support.waiting import wait_for

MODULES = {
    "producer": "producer.lead.process",
    "collector": "workers.collector",
    "preprocess": "workers.preprocess",
    "inference": "workers.inference",
}
SLOT_BYTES, SLOTS = 10 * 2**20, 8
STOP_SECONDS = 60
START_SECONDS = 120

Popen = subprocess.Popen[bytes]


@dataclass
class Host:
    """Its home has a settings file for every role."""

    namespace: Namespace
    name: str
    home: Path
    ring: Path
    running: dict[str, Popen] = field(default_factory=dict)

    def make_ring(self) -> None:
        environment = self._environment("preprocess")
        subprocess.run(
            [sys.executable, "-m", "shared.staging"], cwd=ROOT, env=environment, check=True
        )

    def start(self, role: str) -> None:
        with (self.home / f"{role}.log").open("ab") as log:
            self.running[role] = subprocess.Popen(
                [*self.namespace.prefix, sys.executable, "-m", MODULES[role]],
                cwd=ROOT,
                env=self._environment(role),
                stdout=log,
                stderr=log,
            )

    def stop(self, role: str) -> None:
        process = self.running.pop(role)
        process.terminate()
        process.wait(STOP_SECONDS)

    def freeze(self, role: str) -> None:
        self.running[role].send_signal(signal.SIGSTOP)

    def vanish(self) -> None:
        """Every process at once, with no time for anything."""
        for process in self.running.values():
            process.kill()
        for process in self.running.values():
            process.wait()
        self.running.clear()

    def staged_since(self, started_at: float) -> bool:
        """Whether a slot of its ring was written to since that Unix time."""
        return any(path.stat().st_mtime > started_at for path in self.ring.glob("slot-*"))

    def _environment(self, role: str) -> dict[str, str]:
        return {
            **os.environ,
            "HEADRACE_HOME": str(self.home),
            "HEADRACE_SETTINGS_FILE": f"{role}.json",
            "HEADRACE_PROCESS": f"{role}-1",
        }


@dataclass
class System:
    """``stack`` types commands on the first host."""

    first: Host
    second: Host
    stack: Stack
    ledger: Ledger
    staging: Any
    broker: Any
    servers: list[RunningValkey | RunningSeaweed]

    def cpu_seconds(self) -> float:
        """What all processes that run now have taken since they were started."""
        hosts = [process for _, host in self._hosts() for process in host.running.values()]
        pids = [process.pid for process in (*hosts, *self.servers)]
        times = [psutil.Process(pid).cpu_times() for pid in pids]
        return sum(one.user + one.system for one in times)

    def workers(self, **roles: str) -> None:
        """Let just these run: on ``first`` and ``second``, roles with spaces between them."""
        for name, host in self._hosts():
            names = roles.get(name, "").split()
            for role in [r for r in host.running if r in ("preprocess", "inference")]:
                if role not in names:
                    host.stop(role)
            for role in names:
                if role not in host.running:
                    host.start(role)
        expected = {(role, host.name) for _, host in self._hosts() for role in host.running}
        wait_for(
            lambda: {(w.role, w.host_id) for w in self.ledger.workers()} == expected,
            what=f"the leases of {sorted(expected)}",
            deadline_seconds=START_SECONDS,
        )

    def parcels(self) -> int:
        """How many were sent since ``forget_parcels``."""
        return int(self.staging.info("commandstats").get("cmdstat_rpushx", {}).get("calls", 0))

    def forget_parcels(self) -> None:
        self.staging.config_resetstat()

    def labels(self, job: str) -> dict[str, tuple[Any, ...]]:
        """What its rows say of each image."""
        return {
            row["key"]: (row["etag"], row["status"], row["error_code"], row["label"])
            for row in self.stack.rows(job)
        }

    def _hosts(self) -> list[tuple[str, Host]]:
        return [("first", self.first), ("second", self.second)]


@contextmanager
def system(base: Path, near: Namespace, far: Namespace) -> Iterator[System]:
    """To be entered on the first host."""
    servers: list[RunningValkey | RunningSeaweed] = []
    hosts = [_host(base, namespace) for namespace in (near, far)]
    try:
        broker = start_valkey(base / "broker", near.address)
        servers.append(broker)
        staging = start_valkey(base / "staging", near.address)
        servers.append(staging)
        weed = start_seaweedfs(base / "weed", near.address)
        servers.append(weed)
        for server in (broker, staging):
            add_users(server.url)
        for host in hosts:
            _write_settings(host, broker, staging, weed)
            host.make_ring()
        settings = load_settings(hosts[0].home, SETTINGS_FILE)
        found = System(
            *hosts,
            stack=Stack(hosts[0].home),
            ledger=connect_ledger(settings),
            staging=redis.Redis.from_url(staging.url),
            broker=redis.Redis.from_url(broker.url),
            servers=servers,
        )
        for bucket in ("state", "models", "results"):
            found.stack.s3.create_bucket(Bucket=bucket)
        for role in ("producer", "collector"):
            found.first.start(role)
        yield found
    finally:
        for host in hosts:
            host.vanish()
            shutil.rmtree(host.ring, ignore_errors=True)
        for server in servers:
            server.stop()


def _host(base: Path, namespace: Namespace) -> Host:
    home = base / namespace.name
    home.mkdir()
    return Host(namespace, namespace.name, home, Path("/dev/shm") / f"headrace-{namespace.name}")


def _write_settings(
    host: Host, broker: RunningValkey, staging: RunningValkey, weed: RunningSeaweed
) -> None:
    for role in (*MODULES, ADMIN):
        values = {
            "host_id": host.name,
            "broker_url": url_as(broker.url, role),
            "ledger_url": url_as(broker.url, role).removesuffix("/0") + "/1",
            "staging_url": url_as(staging.url, role),
            "s3": {
                "endpoint": weed.endpoint,
                "access_key": weed.access_key,
                "secret_key": weed.secret_key,
            },
            "ring": {
                "directory": str(host.ring),
                "slot_bytes": [SLOT_BYTES],
                "slot_counts": [SLOTS],
            },
            "signing_keys": [_SIGNING_KEY],
        }
        name = SETTINGS_FILE if role == ADMIN else f"{role}.json"
        (host.home / name).write_text(json.dumps(values))


_SIGNING_KEY = secrets.token_hex(16)
