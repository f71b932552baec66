"""Renewing a worker's lease: the sign of life that names the chunks in hand."""

from __future__ import annotations

import logging
import threading

from shared.errors import TransientError
from shared.ledger import Stale
from workers.runtime import Runtime

log = logging.getLogger(__name__)


class LeaseKeeper:
    """A thread that renews the lease three times in its length."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._incarnation: str | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(self) -> None:
        """Begin; the worker counts as live from the first renewal on."""
        self._thread.start()

    def end(self) -> None:
        """Stop renewing and take the lease away at once."""
        self._ended.set()
        self._thread.join(timeout=5)
        if self._incarnation is not None:
            try:
                self._runtime.ledger.depart(self._incarnation, self._runtime.identity)
            except (TransientError, Stale):
                log.debug("the lease is left to run out")

    def _run(self) -> None:
        interval_seconds = self._runtime.settings.lease_seconds / 3
        while not self._ended.wait(interval_seconds if self._renew() else 0.5):
            pass

    def _renew(self) -> bool:
        runtime = self._runtime
        try:
            self._incarnation = runtime.ledger.incarnation()
            if self._incarnation is None:  # the producer has not begun the ledger yet
                return False
            runtime.ledger.renew(self._incarnation, runtime.identity, tuple(runtime.in_hand))
        except (TransientError, Stale) as problem:
            log.warning("lease not renewed: %s", problem)
            return False
        return True
