"""A user's own class, in a process of its own: no base class, no import of ours."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from shared.pipeline import EngineName, Precision
from workers.inference.class_host.memory import Area
from workers.inference.class_host.process import HostProcess
from workers.inference.class_host.values import unpack
from workers.inference.engines.port import Images, Outputs, Ran
from workers.inference.errors import ClassUnusable, EngineError, HostDied, NotBegun
from workers.suspects.frame import Frame


class PythonEngine:
    """Has a host call the class's one instance with uint8 RGB batches (images, height, width, 3).

    ``folder`` has the class's code in ``code``; the host removes it when it ends. The class is
    constructed here, without arguments. Raises ClassUnusable where that raises, takes longer than
    ``load_seconds``, or ends its process.
    """

    name: EngineName = "python"
    precision: Precision | None = None

    def __init__(
        self, python_class: str, folder: Path, environment: Mapping[str, str], load_seconds: float
    ) -> None:
        self.dead = False
        self._host = HostProcess(folder, environment)
        self._spare: list[Area] = []  # has the memory of batches that are done
        self._dropped: list[int] = []  # areas that the host need not map any longer
        self._under_way = 0
        self._changed = threading.Condition()
        module, _, name = python_class.partition(":")
        module, _, name = python_class.partition(":")
        self._host.send({"module": module, "class": name})
        try:
            ready = self._host.receive(load_seconds).header
        except HostDied as death:
            self._die()
            raise ClassUnusable(
                f"'{python_class}' ended its process while it was constructed: {death.message}.",
                prints=self.take_prints(),
            ) from death
        if "error" in ready:
            self._die()
            raise ClassUnusable(
                f"'{python_class}' cannot be constructed: {ready['error']}",
                prints=self.take_prints(),
            )
        self.device = str(ready.get("device"))[:200]

    def run(self, images: Images, seconds: float = math.inf) -> Outputs:
        """The instance's outputs, one an image. Raises EngineError, HostDied."""
        return self.launch([images], seconds).wait().outputs

    def launch(self, pieces: Sequence[Images], seconds: float = math.inf) -> _UnderWay:
        """Copy the pieces to the host, which begins when it is done with the batch before."""
        if self.dead:
            raise NotBegun
        used_bytes = sum(piece.nbytes for piece in pieces)
        area = self._area(used_bytes)
        shape = area.join(pieces)
        dropped, self._dropped = self._dropped, []
        header = {"area": area.number, "bytes": used_bytes, "shape": shape, "dropped": dropped}
        self._host.send(header, area.descriptor)
        area.forget_descriptor()
        with self._changed:
            self._under_way += 1
        return _UnderWay(self, area, shape[0], seconds)

    def take_prints(self) -> str:
        """What the class has printed since the last call, up to a bound."""
        return self._host.take_prints()

    def close(self) -> None:
        """End the host, once it is done."""
        with self._changed:
            self._changed.wait_for(lambda: self._under_way == 0)
        self._die()

    def finish(self, area: Area, images: int, seconds: float) -> Ran:
        """The outputs of the batch that was launched first of those under way."""
        try:
            if self.dead:
                raise NotBegun
            return self._ran(area, images, self._host.receive(seconds))
        except HostDied:
            self._die()
            raise
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def _ran(self, area: Area, images: int, frame: Frame) -> Ran:
        answer = frame.header
        if answer.get("kept"):  # the class has it now
            self._dropped.append(area.number)
        else:
            self._spare.append(area)
        if "error" in answer:
            raise EngineError(str(answer["error"]))
        try:
            outputs = unpack(int(answer["tree_bytes"]), frame.payload)
            if len(outputs) != images:
                raise ValueError(f"{len(outputs)} outputs for {images} images")
            return Ran(outputs, float(answer["seconds"]), time.time())
        except (KeyError, TypeError, ValueError) as error:
            raise HostDied(f"it answered nonsense: {error}") from error

    def _area(self, used_bytes: int) -> Area:
        """Memory that no batch under way is in, and that this one fits in."""
        while self._spare:
            area = self._spare.pop()
            if area.size_bytes >= used_bytes:
                return area
            self._dropped.append(area.number)
        return Area(used_bytes)

    def _die(self) -> None:
        self.dead = True
        self._host.end()


class _UnderWay:
    """A batch that the host has."""

    def __init__(self, engine: PythonEngine, area: Area, images: int, seconds: float) -> None:
        self._engine = engine
        self._batch = area, images, seconds

    def wait(self) -> Ran:
        """The class's outputs.

        Raises EngineError for what the class raised, HostDied where it ended its process or took
        longer than it may, and NotBegun where that happened over an earlier batch.
        """
        return self._engine.finish(*self._batch)
