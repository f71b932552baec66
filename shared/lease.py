"""Renewing a worker's lease: the sign of life that names the chunks in hand."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from pathlib import Path

from shared.errors import TransientError
from shared.ledger import Ledger, Stale, WorkerIdentity
from shared.patience import Outage
from shared.threads import guarded

log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.5


class LeaseKeeper:
    """A thread that renews the lease three times in its length.

    ``in_hand`` gives the names (``ChunkRef.name``) of the chunks that are being worked on.
    ``alive_file`` is touched at every renewal. ``stopping``: whether no more messages are taken.
    """

    def __init__(
        self,
        ledger: Ledger,
        identity: WorkerIdentity,
        lease_seconds: float,
        in_hand: Callable[[], Collection[str]] = tuple,
        alive_file: Path | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._ledger = ledger
        self._identity = identity
        self._interval_seconds = lease_seconds / 3
        self._in_hand = in_hand
        self._alive_file = alive_file
        self._stopping = stopping
        self._incarnation: str | None = None
        self._ended = threading.Event()
        self._unseen = Outage(log)
        self._thread = guarded("lease", self._run, ended=self._ended.is_set)

    def start(self) -> None:
        """Begin; the worker counts as live from the first renewal on."""
        self._thread.start()

    def end(self) -> None:
        """Stop renewing and take the lease away at once."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        if self._incarnation is not None:
            try:
                self._ledger.depart(self._incarnation, self._identity)
            except (TransientError, Stale):
                log.debug("the lease is left to run out")

    def _run(self) -> None:
        renewed = False  # on an empty ledger it takes a moment
        while not self._ended.is_set():
            was, renewed = renewed, self._renew()
            if was and not renewed:
                log.warning("the lease of %s is not renewed", self._identity.name)
            self._ended.wait(self._interval_seconds if renewed else _RETRY_SECONDS)

    def _renew(self) -> bool:
        try:
            self._incarnation = self._ledger.incarnation()
            if self._incarnation is None:  # the producer has not begun the ledger yet
                return False
            self._ledger.renew(
                self._incarnation, self._identity, self._in_hand(), stopping=self._stopping()
            )
        except (TransientError, Stale):
            return False
        self._show()
        return True

    def _show(self) -> None:
        if self._alive_file is None:
            return
        try:
            self._alive_file.touch()
        except OSError as error:  # a full disk is not to cost the lease
            self._unseen.report(f"no sign of life can be left: {error}")
        else:
            self._unseen.clear()
