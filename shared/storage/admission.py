"""Waiting until a store takes our time and our keys, without which it takes nothing from us."""

from __future__ import annotations

import logging
import threading

from shared.errors import HeadraceError
from shared.patience import Outage
from shared.storage.errors import ClockSkewed, UnknownKeys
from shared.storage.port import Store

log = logging.getLogger(__name__)

PAUSE_SECONDS = 5.0
PROBE_KEY = "clock-probe"


def wait_for_store_access(
    store: Store, bucket: str, stopping: threading.Event, pause_seconds: float = PAUSE_SECONDS
) -> None:
    """Return when the store refuses neither our clock nor our keys, whatever else it may refuse.

    For before there is work in hand: who cannot ask a store for anything is to leave the work to
    others. Says so once.
    """
    outage = Outage(log)
    while (refusal := _refusal(store, bucket)) is not None:
        outage.report(refusal)
        if stopping.wait(pause_seconds):
            return
    outage.clear()


def _refusal(store: Store, bucket: str) -> HeadraceError | None:
    try:
        store.get(bucket, PROBE_KEY)
    except (ClockSkewed, UnknownKeys) as error:
        return error
    except HeadraceError:  # the request was taken, or nobody is there to mind it
        pass
    return None
