"""Claim check: pixels lie in slots of shared memory, or for another host in parcels.

Messages only say which.
"""

from shared.staging.layout import Layout, SlotPlace, create_ring
from shared.staging.network import NetworkStaging, NetworkWriteHold
from shared.staging.ring import (
    ReadHold,
    SlotGone,
    StagingRing,
    WriteHold,
    chunk_in,
    open_ring,
)

__all__ = [
    "Layout",
    "NetworkStaging",
    "NetworkWriteHold",
    "ReadHold",
    "SlotGone",
    "SlotPlace",
    "StagingRing",
    "WriteHold",
    "chunk_in",
    "create_ring",
    "open_ring",
]
