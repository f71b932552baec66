"""A proxy in the test's process, before a server, that draws a fate for each of its answers.

``RespProxy`` stands before the broker and ledger, ``HttpProxy`` before the store. Both forward
bytes unchanged, so that what a client signs, its ``Host`` too, is what the server sees.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import threading
from abc import ABC, abstractmethod
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Self

HOST = "127.0.0.1"
LIMIT_BYTES = 2**20
STALL_SECONDS = (0.2, 3.0)


class Fate(StrEnum):
    """What becomes of one request and its answer."""

    PASS = "pass"
    FAIL = "fail"  # the connection is closed before the request is forwarded
    STALL = "stall"  # the answer is held back for some of STALL_SECONDS
    AMBIGUOUS = "ambiguous"  # the request is done, and reported as failed
    REFUSE = "refuse"  # HTTP: 500 or 503, and nothing is done
    SLOW = "slow"  # HTTP: the answer's body comes at one byte a second


class Proxy(ABC):
    """Listens on a free ``port`` while it is entered.

    ``rates``: how likely each fate but PASS is; it may be replaced at any time. ``counts``: the
    fates so far. ``context``: set before it is entered, for clients that encrypt.
    """

    def __init__(self, server_port: int, draw: random.Random) -> None:
        self.rates: Mapping[Fate, float] = {}
        self.counts: Counter[Fate] = Counter()
        self.port = 0
        self.context: ssl.SSLContext | None = None
        self._server_port = server_port
        self._random = draw
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @abstractmethod
    async def relay(self, client: Peer, server: Peer) -> None:
        """Carry one connection until either side, or a fate, ends it."""

    def draw(self, *impossible: Fate) -> Fate:
        """The fate of one answer."""
        at, fate = self._random.random(), Fate.PASS
        for candidate, rate in self.rates.items():
            at -= 0 if candidate in impossible else rate
            if at < 0:
                fate = candidate
                break
        self.counts[fate] += 1
        return fate

    async def stall(self) -> None:
        """Hold an answer back."""
        await asyncio.sleep(self._random.uniform(*STALL_SECONDS))

    async def wait(self, seconds: float) -> None:
        """Take a moment for an answer."""
        await asyncio.sleep(seconds)

    def chance(self) -> bool:
        """One in two."""
        return self._random.random() < 0.5

    async def _listen(self) -> None:
        listener = await asyncio.start_server(
            self._accept, HOST, 0, limit=LIMIT_BYTES, ssl=self.context
        )
        self._listener = listener
        self.port = listener.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        self._listener.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        client, server = Peer(reader, writer), None
        try:
            server = Peer(
                *await asyncio.open_connection(HOST, self._server_port, limit=LIMIT_BYTES)
            )
            await self.relay(client, server)
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # either side has gone, or the proxy ends
        finally:
            client.close()
            if server is not None:
                server.close()


class Peer:
    """One side of a connection."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.reader, self._writer = reader, writer

    async def send(self, data: bytes) -> None:
        """Write and wait until the other side can take more."""
        self._writer.write(data)
        await self._writer.drain()

    async def line(self) -> bytes:
        """One line with its end. Raises EOFError where there is no more."""
        return await self.reader.readuntil(b"\r\n")

    def close(self) -> None:
        """Close what was sent, without waiting for it to arrive."""
        self._writer.close()
