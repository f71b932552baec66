"""Claim check: pixels lie in slots of shared memory, and messages only say which."""

from shared.staging.layout import Layout, SlotPlace, create_ring
from shared.staging.ring import ReadHold, SlotGone, StagingRing, WriteHold, open_ring

__all__ = [
    "Layout",
    "ReadHold",
    "SlotGone",
    "SlotPlace",
    "StagingRing",
    "WriteHold",
    "create_ring",
    "open_ring",
]
