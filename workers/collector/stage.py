"""The collector's stage: a result becomes a chunk file. Knows nothing of Celery."""

from __future__ import annotations

import logging
import threading

from shared.errors import TransientError
from shared.messages import Result
from shared.patience import retry_while_unavailable
from workers.collector.chunk_file import ChunkFiles, NotListed
from workers.runtime import Done, GiveBack, Refuse

log = logging.getLogger(__name__)


class CollectStage:
    """Called with a Result, by several threads at once.

    A store that does not answer is waited for. A worker that stops meanwhile gives the chunk back,
    to be computed again: nobody else could be handed its result. A result that is not about what
    the manifest lists is refused.
    """

    def __init__(self, files: ChunkFiles, stopping: threading.Event) -> None:
        self._files = files
        self._stopping = stopping

    def __call__(self, result: Result) -> Done | GiveBack | Refuse:
        """The counters of this result; hints, for a file that stands already counts otherwise."""
        try:
            footer = retry_while_unavailable(
                lambda: self._files.write(result), stopping=self._stopping
            )
        except TransientError:
            return GiveBack()
        except NotListed as problem:
            log.error("%s: %s", result.ref.name, problem)
            return Refuse()
        return Done(
            {
                "chunks": 1,
                "succeeded": footer.succeeded,
                "failed": footer.failed,
                "device_seconds": footer.timings.device_seconds,
            }
        )
