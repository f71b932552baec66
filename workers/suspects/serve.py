"""The child's side: what ``python -m workers.ROLE.suspect_child PARENT`` calls."""

from __future__ import annotations

import faulthandler
import socket
import sys
from collections.abc import Callable

from workers.suspects.disposable import be_disposable
from workers.suspects.packet import Packet, packed, receive

Responder = Callable[[bytes], Packet]
# From the first packet: what to say when ready, and what answers each payload.
Begin = Callable[[Packet], tuple[Packet, Responder]]


def serve(begin: Begin) -> int:
    """Answer the parent until it hangs up. Returns the exit code."""
    faulthandler.enable()  # where it crashed is worth a line in the log
    be_disposable(int(sys.argv[1]))
    channel = _ParentChannel(socket.socket(fileno=sys.stdin.fileno()))
    ready, answer = begin(receive(channel.read))
    channel.send(ready)
    while True:
        try:
            payload = receive(channel.read).payload
        except EOFError:
            return 0
        channel.send(answer(payload))


class _ParentChannel:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def read(self, size: int) -> bytes:
        chunks = bytearray()
        while len(chunks) < size:
            received = self._connection.recv(min(size - len(chunks), 2**20))
            if not received:
                raise EOFError
            chunks += received
        return bytes(chunks)

    def send(self, packet: Packet) -> None:
        self._connection.sendall(packed(packet))
