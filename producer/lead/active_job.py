"""A job that is not closed: its listing, which goes on in a thread, and its feed."""

from __future__ import annotations

import logging
from collections.abc import Callable

from producer.lead.feed import JobFeed
from producer.lead.lister import Lister, ManifestTaken, Stopped
from shared.errors import HeadraceError, PermanentError
from shared.job import JobSpec
from shared.manifest import Seal
from shared.threads import guarded

log = logging.getLogger(__name__)


class ActiveJob:
    """``seal`` and ``error`` are how the listing ended; both are None while it goes on.

    ``feed`` and ``is_cancelled`` go by the ledger of ``incarnation``. ``is_stop_refused``: its stop
    could not be written.
    """

    feed: JobFeed

    def __init__(self, spec: JobSpec, lister: Lister, make_feed: Callable[[str], JobFeed]) -> None:
        self.spec, self.lister, self._make_feed = spec, lister, make_feed
        self.seal: Seal | None = None
        self.error: HeadraceError | None = None
        self.is_stop_refused = False
        self.restart("")
        # What a listing raises ends its job, and it returns only then: anything else is unexpected.
        self._thread = guarded(f"list {spec.job_id}", self._list, ended=lambda: True)

    def restart(self, incarnation: str) -> None:
        """Feed from the beginning, to the ledger of ``incarnation``."""
        self.incarnation, self.is_cancelled = incarnation, False
        self.feed = self._make_feed(incarnation)

    def start(self) -> None:
        """Begin to list, or to read what is listed."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listing; anybody may go on from the bucket."""
        self.lister.stop()

    def join(self, timeout_seconds: float) -> None:
        """Wait for the listing's thread."""
        self._thread.join(timeout_seconds)

    def _list(self) -> None:
        job_id = self.spec.job_id
        while self.seal is None and self.error is None:
            try:
                self.seal = self.lister.run()
                log.info("%s: %d items in %d chunks", job_id, self.seal.listed, self.seal.chunks)
            except ManifestTaken:
                log.info("%s: another producer lists it, reading it again", job_id)
            except Stopped:
                return
            except HeadraceError as error:
                self.error = error
            except Exception as error:
                log.exception("%s: the listing failed", job_id)
                self.error = PermanentError("listing_failed", f"The listing failed: {error!r}.")
