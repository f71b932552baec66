"""What runs a model on a device: one port, ``Engine``, and one file for each engine."""

from workers.inference.engines.port import (
    LAUNCHED_BATCHES,
    DeviceRun,
    Engine,
    HostedEngine,
    Images,
    Outputs,
    PendingRun,
    StreamingEngine,
)

__all__ = [
    "LAUNCHED_BATCHES",
    "DeviceRun",
    "Engine",
    "HostedEngine",
    "Images",
    "Outputs",
    "PendingRun",
    "StreamingEngine",
]
