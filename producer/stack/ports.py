"""Free ports on loopback, kept from one ``up`` to the next."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from producer import Echo
from producer.stack.roles import observers
from shared.errors import HeadraceError

HOST = "127.0.0.1"
# Below the ports that Linux gives to outgoing connections, which would take ours now and then.
PORT_RANGE = range(20_000, 32_000)
# SeaweedFS's admin server takes a second port, this much above its first.
ADMIN_OFFSET = 10_000
ADMIN_RANGE = range(20_000, 22_000)
SEAWEEDFS_SERVERS = ("master", "volume", "filer", "s3")
SERVICE_PORTS = (
    "valkey",
    *SEAWEEDFS_SERVERS,
    *(f"{server}_grpc" for server in SEAWEEDFS_SERVERS),
    "admin",
)
ATTEMPTS = 1000


ClaimPort = Callable[[int], bool]


def port_names() -> tuple[str, ...]:
    """What listens in a stack on this machine: the services and the observers."""
    return (*SERVICE_PORTS, *(role.name for role in observers()))


@contextmanager
def choosing() -> Iterator[ClaimPort]:
    """Gives what claims a port before all other stacks of this user, until ours are listened on.

    A claim is a lock on one byte of a file, the port's: whoever dies lets go of it, and nobody
    waits for a stack that takes long to start.
    """
    path = Path(tempfile.gettempdir()) / f"headrace-{os.getuid()}.ports"
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+") as file:

        def claim(port: int) -> bool:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            except OSError:
                return False
            return True

        yield claim


def choose_ports(
    known: Mapping[str, int],
    echo: Echo,
    claim: ClaimPort,
    names: Sequence[str],
) -> dict[str, int]:
    """A free port for each of ``names``: the known one, or else another, which it tells."""
    chosen: dict[str, int] = {}
    for name in names:
        port = known.get(name)
        if port is None or not _fits(name, port, chosen, claim):
            chosen[name] = _another(name, chosen, claim)
            if port is not None:
                echo(f"Port {port} ({name}) is taken by another program: using {chosen[name]}.")
        else:
            chosen[name] = port
    return chosen


def _another(name: str, chosen: dict[str, int], claim: ClaimPort) -> int:
    candidates = ADMIN_RANGE if name == "admin" else PORT_RANGE
    for port in random.choices(candidates, k=ATTEMPTS):
        if _fits(name, port, chosen, claim):
            return port
    raise HeadraceError(
        "no_port",
        f"No free port between {candidates.start} and {candidates.stop}.",
        "End programs that listen there.",
    )


def _fits(name: str, port: int, chosen: dict[str, int], claim: ClaimPort) -> bool:
    wanted = {port, port + ADMIN_OFFSET} if name == "admin" else {port}
    taken = set(chosen.values()) | {chosen.get("admin", 0) + ADMIN_OFFSET}
    # Claimed first: who had the claim before listens by the time that it lets go of it.
    return not wanted & taken and all(claim(port) and is_free(port) for port in wanted)


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of loopback now."""
    with socket.socket() as probe:
        # As servers do: connections that have ended a moment ago do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
