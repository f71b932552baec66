"""Certificates of one's own, and servers that are spoken to encrypted."""

from __future__ import annotations

import asyncio
import random
import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.injection.proxy import Peer, Proxy

SERVED = "subjectAltName=IP:127.0.0.1,DNS:localhost"
PART_BYTES = 65536
NEW_KEY = "-newkey rsa:2048 -nodes"


@dataclass(frozen=True, slots=True)
class Authority:
    """Its own certificate is in ``ca_file``."""

    directory: Path

    @property
    def ca_file(self) -> Path:
        return self.directory / "ca.pem"

    def certify(self, names: str = SERVED) -> ssl.SSLContext:
        """What a server under these names shows its clients."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(names))
        return context

    def issue(self, names: str = SERVED) -> tuple[Path, Path]:
        """The files of such a server: its certificate and its key."""
        name = f"server-{len(list(self.directory.glob('server-*.pem')))}"
        self._openssl(
            f"req {NEW_KEY} -subj /CN=server -addext {names}", f"{name}.key", f"{name}.csr"
        )
        signed = f"x509 -req -in {name}.csr -days 1 -copy_extensions copy -CA ca.pem -CAkey ca.key"
        self._openssl(signed, None, f"{name}.pem")
        return self.directory / f"{name}.pem", self.directory / f"{name}.key"

    def _openssl(self, arguments: str, key: str | None, out: str) -> None:
        command = ["openssl", *arguments.split(), "-out", out]
        command += ["-keyout", key] if key else []
        subprocess.run(command, cwd=self.directory, check=True, capture_output=True)


def make_authority(directory: Path) -> Authority:
    """A new one. Skips where there is no openssl to make it with."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl in PATH, which makes the certificates")
    directory.mkdir(parents=True)
    authority = Authority(directory)
    authority._openssl(f"req -x509 {NEW_KEY} -days 1 -subj /CN=own", "ca.key", "ca.pem")
    return authority


class TlsFront(Proxy):
    """Decrypts for a server that cannot."""

    def __init__(self, server_port: int, context: ssl.SSLContext) -> None:
        super().__init__(server_port, random.Random(0))
        self.context = context

    async def relay(self, client: Peer, server: Peer) -> None:
        there = asyncio.create_task(_copy(client, server))
        back = asyncio.create_task(self.copy_back(server, client))
        _, pending = await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()

    async def copy_back(self, server: Peer, client: Peer) -> None:
        """Send the client what the server says."""
        await _copy(server, client)


async def _copy(source: Peer, sink: Peer) -> None:
    try:
        while data := await source.reader.read(PART_BYTES):
            await sink.send(data)
    except OSError:
        pass  # the other side has gone
