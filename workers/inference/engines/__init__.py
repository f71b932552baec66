"""What runs a model on a device: one port, ``Engine``, and one file for each engine."""

from workers.inference.engines.port import (
    LAUNCHED_BATCHES,
    Engine,
    HostedEngine,
    Images,
    Launched,
    Outputs,
    Ran,
    StreamingEngine,
)

__all__ = [
    "LAUNCHED_BATCHES",
    "Engine",
    "HostedEngine",
    "Images",
    "Launched",
    "Outputs",
    "Ran",
    "StreamingEngine",
]
