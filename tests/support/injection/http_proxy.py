"""The proxy before the store. A fate for each request and its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from tests.support.injection.proxy import Fate, Peer, Proxy

ERROR = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>injected</Message></Error>"
SLOW_BYTE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Text:
    """A request or an answer as it lay on the wire."""

    first: bytes
    head: bytes
    body: bytes
    fields: Mapping[bytes, bytes]

    @property
    def method(self) -> bytes:
        """Of a request."""
        return self.first.split(b" ")[0]

    @property
    def status(self) -> int:
        """Of an answer."""
        return int(self.first.split(b" ")[1])


class HttpProxy(Proxy):
    """HTTP 1.1 with connections that are kept."""

    async def relay(self, client: Peer, server: Peer) -> None:
        while True:
            request = await text_of(client)
            fate = self.draw() if request.method == b"GET" else self.draw(Fate.SLOW)
            if fate is Fate.FAIL:
                return
            if fate is Fate.REFUSE:
                await client.send(_error(500 if self.chance() else 503))
                continue
            await server.send(request.head + request.body)
            answer = await answer_to(server, request.method)
            if fate is Fate.AMBIGUOUS:
                if self.chance():
                    return
                await client.send(_error(500))
                continue
            if fate is Fate.STALL:
                await self.stall()
            await client.send(answer.head)
            if fate is Fate.SLOW:
                await _trickle(client, answer.body)
            else:
                await client.send(answer.body)


async def answer_to(server: Peer, method: bytes) -> Text:
    """The answer to a request of this method."""
    while (answer := await text_of(server, method)).status == 100:
        pass  # nobody was promised to hear of it
    return answer


async def text_of(peer: Peer, method: bytes | None = None) -> Text:
    """A request, or, with its ``method``, the answer to one."""
    lines = [await peer.line()]
    while (line := await peer.line()) != b"\r\n":
        lines.append(line)
    named = (line.partition(b":") for line in lines[1:])
    fields = {name.strip().lower(): value.strip() for name, _, value in named}
    head = b"".join(lines) + b"\r\n"
    text = Text(lines[0], head, b"", fields)
    bare = method is not None and (method == b"HEAD" or text.status in (100, 204, 304))
    return text if bare else Text(lines[0], head, await _body(peer, fields), fields)


async def _body(peer: Peer, fields: Mapping[bytes, bytes]) -> bytes:
    if fields.get(b"transfer-encoding", b"").lower() != b"chunked":
        return await peer.reader.readexactly(int(fields.get(b"content-length", b"0")))
    parts = []
    while True:
        size = await peer.line()
        parts += [size, await peer.reader.readexactly(int(size.split(b";")[0], 16) + 2)]
        if parts[-1] == b"\r\n":
            return b"".join(parts)


async def _trickle(client: Peer, body: bytes) -> None:
    for at in range(len(body)):
        await client.send(body[at : at + 1])
        await asyncio.sleep(SLOW_BYTE_SECONDS)


def error_answer(status: int, code: bytes, method: bytes = b"GET") -> bytes:
    """An error as S3 puts it; the answer to a HEAD has no body."""
    body = ERROR % code
    head = f"HTTP/1.1 {status} injected\r\nContent-Type: application/xml\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + (b"" if method == b"HEAD" else body)


def _error(status: int) -> bytes:
    return error_answer(status, b"InternalError" if status == 500 else b"SlowDown")
