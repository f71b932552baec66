"""A proxy before a store that refuses as stores of others do: by class, by load, by age of keys."""

from __future__ import annotations

import random
import re
from collections import Counter
from urllib.parse import unquote

from tests.support.injection.http_proxy import Text, answer_to, error_answer, text_of
from tests.support.injection.proxy import Peer, Proxy

HOLD_SECONDS = 0.01
FORBIDDEN, BUSY, BAD_REQUEST = 403, 503, 400


class StrictStore(Proxy):
    """Forwards what it does not refuse; ``refused`` counts that by code.

    ``archived``: ends of keys that cannot be read. ``at_once``: how many requests it takes at a
    time, each for 10 ms. ``ended``: session tokens and access keys that it no longer takes;
    ``uses``: how often each session that it took was used; ``gets``: how often each path was read.
    """

    def __init__(self, server_port: int) -> None:
        super().__init__(server_port, random.Random(0))
        self.refused: Counter[str] = Counter()
        self.archived: tuple[str, ...] = ()
        self.at_once: int | None = None
        self.ended: set[str] = set()
        self.uses: Counter[str] = Counter()
        self.gets: Counter[str] = Counter()
        self._going = 0

    async def relay(self, client: Peer, server: Peer) -> None:
        while True:
            request = await text_of(client)
            self._going += 1
            try:
                refusal = self._refusal(request)
                if refusal is None:
                    await server.send(request.head + request.body)
                    answer = await answer_to(server, request.method)
                    if self.at_once is not None:
                        await self.wait(HOLD_SECONDS)
                    whole = answer.head + answer.body
                else:
                    status, code = refusal
                    self.refused[code] += 1
                    whole = error_answer(status, code.encode(), request.method)
            finally:
                self._going -= 1
            await client.send(whole)

    def _refusal(self, request: Text) -> tuple[int, str] | None:
        if self.at_once is not None and self._going > self.at_once:
            return BUSY, "SlowDown"
        token = request.fields.get(b"x-amz-security-token", b"").decode()
        access_key = re.search(r"Credential=(\w+)/", request.fields[b"authorization"].decode())
        if token in self.ended or (access_key and access_key[1] in self.ended):
            return BAD_REQUEST, "ExpiredToken"
        self.uses[token] += 1
        path = unquote(request.first.split(b" ")[1].decode().partition("?")[0])
        if request.method == b"GET":
            self.gets[path] += 1
            if self.archived and path.endswith(self.archived):
                return FORBIDDEN, "InvalidObjectState"
        return None
