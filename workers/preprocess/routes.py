"""Which host's devices a chunk is for: this one's while they live, or else another's."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from shared.errors import TransientError
from shared.ledger import Ledger
from shared.stages import INFERENCE, stage_queues

HOSTS_LOOK_SECONDS = 1.0

# How many chunks of both lanes wait for each host on which an inference worker lives.
Waiting = Callable[[], dict[str, int]]


def waiting_chunks(ledger: Ledger) -> dict[str, int]:
    """What the ledger knows of the hosts, as a ``Waiting`` gives it."""
    hosts = ledger.hosts(INFERENCE.role)
    return {
        host: sum(ledger.queued_count(queue) for queue in stage_queues(INFERENCE, host))
        for host in sorted(hosts)
    }


class Routes:
    """Looks once a second, in the threads that ask.

    Where no inference worker lives at all, what was known before holds, and at first that there is
    one here: so on a single host the ring fills and then holds back, as long as its worker is away,
    and after a cut cable a distant host finds what waits for it.
    """

    def __init__(self, host_id: str, waiting: Waiting) -> None:
        self._host_id, self._ask = host_id, waiting
        self._waiting = {host_id: 0}
        self._looked_at = -math.inf

    def is_here(self) -> bool:
        """Whether pixels are to stay on this host."""
        return self._host_id in self._look()

    def host(self) -> str:
        """This host while pixels are to stay here, or else the one with the shortest queue."""
        waiting = self._look()
        if self._host_id in waiting:
            return self._host_id
        shortest = min(waiting, key=waiting.__getitem__)
        waiting[shortest] += 1  # until the next look
        return shortest

    def _look(self) -> dict[str, int]:
        now = time.monotonic()
        if now - self._looked_at >= HOSTS_LOOK_SECONDS:
            self._looked_at = now
            try:
                self._waiting = self._ask() or self._waiting
            except TransientError:  # the ledger does not answer, which others wait out
                pass
        return self._waiting
