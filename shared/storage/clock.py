"""Waiting until a store takes the time of this machine, without which it takes nothing."""

from __future__ import annotations

import logging
import threading

from shared.errors import HeadraceError
from shared.storage.errors import ClockSkewed
from shared.storage.port import Store

log = logging.getLogger(__name__)

PAUSE_SECONDS = 5.0
PROBE_KEY = "clock-probe"


def wait_for_clock(
    store: Store, bucket: str, stopping: threading.Event, pause_seconds: float = PAUSE_SECONDS
) -> None:
    """Return when the store no longer refuses our clock, whatever else it may refuse.

    For before there is work in hand: who cannot ask a store for anything is to leave the work to
    others. Says so once.
    """
    said = False
    while (skewed := _refusal(store, bucket)) is not None:
        if not said:
            log.warning("waiting: %s", skewed)
        said = True
        if stopping.wait(pause_seconds):
            return


def _refusal(store: Store, bucket: str) -> ClockSkewed | None:
    try:
        store.get(bucket, PROBE_KEY)
    except ClockSkewed as error:
        return error
    except HeadraceError:  # the request was taken, or nobody is there to mind its time
        pass
    return None
