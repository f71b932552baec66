"""One image at a time, for a batch that the engine could not run: whose fault is it?"""

from __future__ import annotations

import threading

from shared.errors import ItemErrorCode
from shared.messages import ItemFailure
from workers.inference.device import DeviceLoop
from workers.inference.engines import Images
from workers.inference.errors import ClassUnusable, EngineError, HostDied, ModelUnusable
from workers.inference.models import ModelKey
from workers.inference.postprocess import model_failure
from workers.inference.submission import Inferred

# So many images in a row that each killed a fresh process, alone: it is the class, not the images.
MAX_KILLERS_IN_A_ROW = 5


class Alone:
    """Runs single images on the device. Thread-safe."""

    def __init__(self, device: DeviceLoop) -> None:
        self._device = device
        self._killers: dict[ModelKey, int] = {}
        self._lock = threading.Lock()

    def run(self, key: ModelKey, image: Images, job: str) -> Inferred | ItemFailure:
        """Run uint8 (1, height, width, 3) in a batch of its own.

        The image fails as ``killed_worker`` where it ends the process of a user's class twice, the
        second time as the first thing there. Raises ClassUnusable after five of these in a row, and
        TransientError.
        """
        try:
            try:
                run = self._device.submit(key, image, job=job, alone=True).result()
            except HostDied:
                run = self._device.submit(key, image, job=job, alone=True, fresh=True).result()
        except HostDied as death:
            self._count(key, death)
            return killed(death)
        except ClassUnusable:
            raise
        except (EngineError, ModelUnusable) as error:
            self._forget(key)
            return model_failure(str(error))
        self._forget(key)
        return run

    def _count(self, key: ModelKey, death: HostDied) -> None:
        with self._lock:
            killers = self._killers[key] = self._killers.get(key, 0) + 1
        if killers >= MAX_KILLERS_IN_A_ROW:
            self._forget(key)
            raise ClassUnusable(
                f"'{key.model.python_class}' ended its process over {killers} images in a row, "
                f"each alone in a process of its own, the last time by: {death.message}.",
                "See 'headrace logs --job JOB' for what it printed.",
            )

    def _forget(self, key: ModelKey) -> None:
        with self._lock:
            self._killers.pop(key, None)


def killed(death: HostDied) -> ItemFailure:
    """The failure of an image over which a user's class ended its process, twice."""
    message = f"It ended the process of its model, twice; alone, by: {death.message}."
    return ItemFailure(error_code=ItemErrorCode.KILLED_WORKER, error_message=message[:500])
