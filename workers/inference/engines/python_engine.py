"""A user's own class, in a process of its own: no base class, no import of ours."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from shared.errors import TransientError
from shared.model import EngineName, Precision
from workers.inference.class_host.about import pack as pack_about
from workers.inference.class_host.memory import Area, resident_bytes
from workers.inference.class_host.process import HostProcess
from workers.inference.class_host.values import unpack
from workers.inference.engines.port import DeviceRun, Images, Outputs
from workers.inference.errors import (
    ClassUnusable,
    EngineError,
    HostDied,
    HostUnable,
    Miscounted,
    NotBegun,
    says_out_of_memory,
)
from workers.inference.model_types import AboutImage
from workers.suspects.packet import Packet

# Facts about images have other lengths in each batch, and its memory is used again. What is not
# written takes no memory.
_GRAIN_BYTES = 2**20


class PythonEngine:
    """Has a host call a class's one instance, or a function, with uint8 RGB batches of shape
    (images, height, width, 3).

    ``folder`` has the class's code in ``code``; the host removes it when it ends. ``arguments``, a
    JSON object, are those that the class is constructed with here, or that a function gets in each
    call. Raises ClassUnusable where that raises, HostUnable where there is no memory for it,
    HostDied where it ends its process or takes longer than ``load_seconds``, and OSError where none
    can be started.

    ``wants_about``: whether each batch needs ``about``.
    """

    name: EngineName = "python"
    precision: Precision | None = None

    def __init__(
        self,
        python_class: str,
        folder: Path,
        environment: Mapping[str, str],
        load_seconds: float,
        arguments: str = "{}",
    ) -> None:
        self.dead = False
        (folder / "arguments.json").write_text(arguments, "utf-8")
        self._host = HostProcess(folder, environment)
        self._spare: list[Area] = []  # has the memory of batches that are done
        self._dropped: list[int] = []  # areas that the host need not map any longer
        self._numbers = itertools.count()
        self._in_flight = 0
        self._last_end = 0.0
        self._changed = threading.Condition()
        module, _, name = python_class.partition(":")
        self._host.send({"module": module, "name": name})
        try:
            ready = self._host.receive(load_seconds).header
            if "error" in ready:
                what = "used" if ready.get("refused") else "constructed"
                reason = f"'{python_class}' cannot be {what}: {ready['error']}"
                kind = HostUnable if says_out_of_memory(reason) else ClassUnusable
                raise kind(reason, prints=self._host.take_prints())
        except BaseException as error:
            self._die()
            if isinstance(error, HostDied):
                error.prints = self._host.take_prints()
            raise
        self.device = str(ready.get("device"))[:200].encode("utf-8", "replace").decode()
        self.wants_about = ready.get("wants_about") is True
        self._pid = self._host.class_pid()

    @property
    def resident_bytes(self) -> int | None:
        """The memory of the class's process now; None where that cannot be measured."""
        return None if self._pid is None else resident_bytes(self._pid)

    def run(self, images: Images) -> Outputs:
        """The instance's outputs, one an image. Raises EngineError, HostDied."""
        return self.launch([images]).wait().outputs

    def launch(
        self,
        pieces: Sequence[Images],
        seconds: float = math.inf,
        about: Sequence[AboutImage] | None = None,
    ) -> HostedBatch:
        """Copy the pieces to the host, which begins when it is done with the batch before.

        ``about``: one for each image of all pieces, in their order.

        Raises NotBegun where the host is dead, TransientError where memory is short, and ValueError
        where the class wants ``about`` and it is not there.
        """
        if self.dead:
            raise NotBegun
        facts = self._facts(about, sum(map(len, pieces)))
        used_bytes = sum(piece.nbytes for piece in pieces)
        try:
            area = self._area(used_bytes + len(facts))
        except OSError as error:
            raise TransientError(
                "no_shared_memory", f"There is no memory for a batch: {error.strerror}."
            ) from error
        shape = area.join(pieces, facts)
        dropped, self._dropped = self._dropped, []
        batch = HostedBatch(self, area, next(self._numbers), shape[0], seconds)
        self._host.send(
            {
                **{"batch": batch.number, "area": area.number, "dropped": dropped},
                **{"bytes": used_bytes, "shape": shape, "about_bytes": len(facts)},
            },
            area.descriptor,
        )
        area.forget_descriptor()
        with self._changed:
            self._in_flight += 1
        return batch

    def close(self) -> None:
        """End the host, once it is done."""
        with self._changed:
            self._changed.wait_for(lambda: self._in_flight == 0)
        self._spare.clear()
        self._die()

    def end_of(self, batch: HostedBatch) -> DeviceRun:
        """The outputs of the batch that was launched first of those in flight."""
        try:
            if self.dead:
                raise NotBegun
            return self._ran(batch, self._host.receive(batch.seconds))
        except EngineError as error:
            if isinstance(error, HostDied):
                self._die()
            error.prints = self._host.take_prints()
            raise
        except BaseException:  # the host's next answer might be taken for another batch's
            self._die()
            raise
        finally:
            self._last_end = time.monotonic()
            with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()

    def _ran(self, batch: HostedBatch, packet: Packet) -> DeviceRun:
        answer = packet.header
        if answer.get("batch") != batch.number:
            raise HostDied("it answered nonsense: another batch")
        if answer.get("kept"):  # the class has it now
            self._dropped.append(batch.area.number)
        else:
            self._spare.append(batch.area)
        if "error" in answer:
            raise (Miscounted if answer.get("miscounted") else EngineError)(str(answer["error"]))
        try:
            outputs = unpack(int(answer["tree_bytes"]), packet.payload)
            if len(outputs) != batch.images:
                raise ValueError(f"{len(outputs)} outputs for {batch.images} images")
        except (KeyError, TypeError, ValueError) as error:
            raise HostDied(f"it answered nonsense: {error}") from error
        seconds = time.monotonic() - max(batch.launched, self._last_end)
        return DeviceRun(outputs, seconds, time.time(), self._host.take_prints())

    def _facts(self, about: Sequence[AboutImage] | None, images: int) -> bytes:
        if not self.wants_about:
            return b""
        if about is None or len(about) != images:
            raise ValueError(f"the class wants to know of {images} images, and is told of others")
        return pack_about(about)

    def _area(self, used_bytes: int) -> Area:
        """Memory that no batch in flight is in, and that this one fits in."""
        while self._spare:
            area = self._spare.pop()
            if area.size_bytes >= used_bytes:
                return area
            self._dropped.append(area.number)
        return Area(-(-used_bytes // _GRAIN_BYTES) * _GRAIN_BYTES)

    def _die(self) -> None:
        self.dead = True
        self._host.end()


class HostedBatch:
    """A batch that the host has."""

    def __init__(
        self, engine: PythonEngine, area: Area, number: int, images: int, seconds: float
    ) -> None:
        self._engine = engine
        self.area, self.number, self.images, self.seconds = area, number, images, seconds
        self.launched = time.monotonic()

    def wait(self) -> DeviceRun:
        """The class's outputs.

        Raises EngineError for what the class raised, HostDied where it ended its process or took
        longer than it may, and NotBegun where that happened over an earlier batch.
        """
        return self._engine.end_of(self)
