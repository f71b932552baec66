"""The proxy before the broker and the ledger. A fate for each command and its answer."""

from __future__ import annotations

import asyncio

from tests.support.injection.proxy import Fate, Peer, Proxy

# What a client says before its first call. A connection that cannot be had is an outage.
GREETINGS = {b"HELLO", b"AUTH", b"SELECT", b"CLIENT"}
SUBSCRIBES = {b"SUBSCRIBE", b"PSUBSCRIBE", b"SSUBSCRIBE"}


class RespProxy(Proxy):
    """RESP 2 and 3. A connection that subscribes is passed on as it is from then on."""

    async def relay(self, client: Peer, server: Peer) -> None:
        fates: asyncio.Queue[Fate | None] = asyncio.Queue()  # None: a subscription begins
        ways = [
            asyncio.ensure_future(self._requests(client, server, fates)),
            asyncio.ensure_future(self._answers(client, server, fates)),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in done:
                way.result()
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _requests(
        self, client: Peer, server: Peer, fates: asyncio.Queue[Fate | None]
    ) -> None:
        while True:
            name, request = await _command(client)
            if name in SUBSCRIBES:
                fates.put_nowait(None)
                await server.send(request)
                return await _copy(client, server)
            fate = Fate.PASS if name in GREETINGS else self.draw()
            if fate is Fate.FAIL:
                return None
            await server.send(request)
            fates.put_nowait(fate)

    async def _answers(self, client: Peer, server: Peer, fates: asyncio.Queue[Fate | None]) -> None:
        while (fate := await fates.get()) is not None:
            answer = await _value(server)
            while answer.startswith(b">"):  # RESP 3 may put a push before it
                await client.send(answer)
                answer = await _value(server)
            if fate is Fate.AMBIGUOUS:
                return None
            if fate is Fate.STALL:
                await self.stall()
            await client.send(answer)
        return await _copy(server, client)


async def _command(client: Peer) -> tuple[bytes, bytes]:
    """The next command's name, in capitals, and its bytes."""
    head = await client.line()
    name, parts = b"", [head]
    for _ in range(int(head[1:])):
        word = await _value(client)
        name = name or word.split(b"\r\n")[1].upper()
        parts.append(word)
    return name, b"".join(parts)


async def _value(peer: Peer) -> bytes:
    """The bytes of the next RESP value."""
    head = await peer.line()
    kind, rest = head[:1], head[1:-2]
    if kind in b"$=!" and rest != b"-1":
        return head + await peer.reader.readexactly(int(rest) + 2)
    if kind in b"*~>%" and rest != b"-1":
        count = int(rest) * (2 if kind == b"%" else 1)
        return head + b"".join([await _value(peer) for _ in range(count)])
    return head


async def _copy(source: Peer, sink: Peer) -> None:
    while data := await source.reader.read(65536):
        await sink.send(data)
