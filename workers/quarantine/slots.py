"""Does a batch refer to a slot that there is, and do its pixels fit into it?"""

from __future__ import annotations

from collections.abc import Callable

from shared.messages import Batch
from shared.settings import Settings
from shared.staging.layout import Layout


def slot_check(settings: Settings) -> Callable[[Batch], str | None]:
    """What is wrong with a batch's slot, as a function of the batch; None where all is well."""
    places = Layout.of(settings.ring).places

    def check(batch: Batch) -> str | None:
        slot = batch.slot
        if slot is None:
            return None
        if slot.host_id != settings.host_id:
            return "slot.host_id: the ring of another host"
        if slot.index >= len(places):
            return f"slot.index: the ring has {len(places)} slots"
        needed, there = slot.images * batch.pipeline.preprocess.image_bytes, places[slot.index]
        if needed > there.slot_bytes:
            return f"slot: {needed} bytes of pixels in a slot of {there.slot_bytes}"
        return None

    return check
