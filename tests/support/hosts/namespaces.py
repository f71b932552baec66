"""Two network namespaces as two hosts, and the cable between them. Needs root and ``ip``."""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

ADDRESSES = ("10.231.77.1", "10.231.77.2")
_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True, slots=True)
class Namespace:
    """One host's network: loopback, and one end of the cable with ``address``."""

    name: str
    device: str
    address: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """What a command begins with to run on this host."""
        return "ip", "netns", "exec", self.name

    def plug(self, state: str) -> None:
        """Cut the cable at this end (``down``), or join it again (``up``)."""
        _ip("-n", self.name, "link", "set", self.device, state)

    def wire_bytes(self) -> int:
        """What has gone over the cable so far, both ways."""
        shown = _ip("-n", self.name, "-s", "-j", "link", "show", "dev", self.device)
        counted = json.loads(shown)[0]["stats64"]
        return int(counted["rx"]["bytes"] + counted["tx"]["bytes"])


def why_no_namespaces() -> str | None:
    """Why this machine cannot do it, in a sentence."""
    if shutil.which("ip") is None:
        return "There is no 'ip' command: install iproute2."
    name = f"hr-probe-{secrets.token_hex(3)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False, text=True)
    if made.returncode:
        return f"No network namespace can be made: {made.stderr.strip()}"
    _ip("netns", "delete", name)
    return None


@contextmanager
def two_namespaces() -> Iterator[tuple[Namespace, Namespace]]:
    """Two hosts that reach each other and nothing else, gone afterwards."""
    tag = secrets.token_hex(3)
    first, second = (
        Namespace(f"hr-{letter}-{tag}", f"hr{letter}{tag}", address)
        for letter, address in zip("ab", ADDRESSES, strict=True)
    )
    with ExitStack() as undo:
        for host in (first, second):
            _ip("netns", "add", host.name)
            undo.callback(_ip, "netns", "delete", host.name)
        peer = ("peer", "name", second.device, "netns", second.name)
        _ip("-n", first.name, "link", "add", first.device, "type", "veth", *peer)
        for host in (first, second):
            _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", host.device)
            _ip("-n", host.name, "link", "set", "lo", "up")
            host.plug("up")
        yield first, second


@contextmanager
def inside(host: Namespace) -> Iterator[None]:
    """Put this thread on a host, with the processes and threads that it starts there."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{host.name}", os.O_RDONLY)
    try:
        _enter(there)
        yield
    finally:
        _enter(before)
        os.close(before)
        os.close(there)


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, check=False, text=True)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
    return done.stdout
