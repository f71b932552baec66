"""Does a batch refer to a place that there is, and do its pixels fit into it?"""

from __future__ import annotations

from collections.abc import Callable

from shared.messages import Batch, Parcel
from shared.settings import Settings
from shared.staging.layout import Layout
from shared.staging.pixel_layout import PixelLayout


def staged_check(settings: Settings) -> Callable[[Batch], str | None]:
    """What is wrong with where a batch is staged, as a function of it; None where all is well."""
    places = Layout.of(settings.ring).places
    network_bytes = settings.staging_bytes if settings.staging_url else 0

    def check(batch: Batch) -> str | None:
        slot = batch.staged
        if slot is None:
            return None
        needed = PixelLayout(batch.pipeline.staged_views, slot.images).total_bytes
        if isinstance(slot, Parcel):
            return f"staged: {needed} bytes are too many" if needed > network_bytes else None
        if slot.host_id != settings.host_id:
            return "staged.host_id: the ring of another host"
        if slot.index >= len(places):
            return f"staged.index: the ring has {len(places)} slots"
        slot_bytes = places[slot.index].slot_bytes
        if needed > slot_bytes:
            return f"staged: {needed} bytes of pixels in a slot of {slot_bytes}"
        return None

    return check
