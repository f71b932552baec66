"""What the device loop needs of an engine, and no more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from shared.model import EngineName, Precision

if TYPE_CHECKING:
    from workers.inference.model_types import AboutImage

Images = npt.NDArray[np.uint8]
# A network's arrays, in the order of ``Model.outputs``, or the array or list that a user's class
# gave; each has one entry for each image.
Outputs = tuple[npt.NDArray[Any], ...] | npt.NDArray[Any] | list[Any]


class Engine(Protocol):
    """A model, loaded. One thread uses it, and another may wait for batches in flight.

    ``device`` is in words, as in ``cpu`` or ``cuda:0 NVIDIA H200``; ``precision`` is null where
    only the user's class knows it.
    """

    name: EngineName
    precision: Precision | None
    device: str

    def run(self, images: Images) -> Outputs:
        """The outputs for ``images``, uint8 RGB of shape (images, height, width, 3).

        Returns when the device is done and keeps no view of ``images``. May raise anything.
        """
        ...

    def close(self) -> None:
        """Let go of the model and of its memory, once the device is done."""
        ...


@dataclass(frozen=True, slots=True)
class DeviceRun:
    """What a batch gave, how long the device worked on it, and the Unix time of its end.

    ``prints``: what a user's class printed meanwhile.
    """

    outputs: Outputs
    seconds: float
    ended_at: float
    prints: str = ""


class PendingRun(Protocol):
    """A batch that the device has."""

    def wait(self) -> DeviceRun:
        """Return when the device is done. Any thread may call it, once. May raise anything."""
        ...


@runtime_checkable
class StreamingEngine(Engine, Protocol):
    """An engine whose device runs one batch while the host brings the next."""

    def launch(self, pieces: Sequence[Images], seconds: float = math.inf) -> PendingRun:
        """Begin with the images of all ``pieces`` as one batch, and return at once.

        ``seconds``: how long the device may take, for an engine that can end what takes longer.
        The pieces stay as they are until ``wait`` returns. At most ``LAUNCHED_BATCHES`` may be
        in flight, and they end in their order.
        """
        ...


@runtime_checkable
class HostedEngine(StreamingEngine, Protocol):
    """An engine in a process of its own, which may end while the worker lives.

    Then it is ``dead``, and a batch raises HostDied, or NotBegun if another was the reason. It ends
    what takes longer than it may itself.
    """

    dead: bool

    def launch(
        self,
        pieces: Sequence[Images],
        seconds: float = math.inf,
        about: Sequence[AboutImage] | None = None,
    ) -> PendingRun:
        """See ``StreamingEngine``. ``about``: what the class may ask about each image."""
        ...


# One that runs, and one whose images are on their way.
LAUNCHED_BATCHES = 2
