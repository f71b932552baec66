"""One image at a time, for a batch that the engine could not run: whose fault is it?"""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import partial

from shared.errors import ItemErrorCode
from shared.item import ItemFailure
from workers.inference.device import DeviceLoop
from workers.inference.engines import Images
from workers.inference.errors import (
    ClassUnusable,
    EngineError,
    HostDied,
    Miscounted,
    ModelUnusable,
    model_failure,
)
from workers.inference.model_types import AboutImage, ModelKey
from workers.inference.submission import InferenceResult

# So many images in a row that each killed a fresh process, alone: it is the class, not the images.
MAX_KILLERS_IN_A_ROW = 5
_REMEMBERED_JOBS = 256


class Alone:
    """Runs single images on the device. Thread-safe."""

    def __init__(self, device: DeviceLoop) -> None:
        self._device = device
        # Images in a row, by job and version of the class.
        self._killers: OrderedDict[tuple[str, str], set[str]] = OrderedDict()
        self._lock = threading.Lock()

    def run(
        self,
        key: ModelKey,
        image: Images,
        job: str,
        name: str,
        about: list[AboutImage] | None = None,
        in_batch: EngineError | None = None,
        *,
        was_alone: bool = False,
    ) -> InferenceResult | ItemFailure:
        """Run uint8 (1, height, width, 3), the image ``name`` of a job, in a batch of its own.

        ``about``: of that image, for a user's class.
        ``in_batch``: why it was not answered in its batch with others. ``was_alone``: there were
        none, so that this was the first run.

        The image fails as ``killed_worker`` where it ends the process of a user's class twice, the
        second time as the first thing there. Raises ClassUnusable after five of these in a row, and
        TransientError.
        """
        submit = partial(self._device.submit, key, image, job=job, alone=True, about=about)
        try:
            try:
                if was_alone and in_batch is not None:
                    raise in_batch
                run = submit().result()
            except HostDied:
                run = submit(fresh=True).result()
        except HostDied as death:
            self._count(key, job, name, death)
            return killed(death)
        except ClassUnusable:
            raise
        except (EngineError, ModelUnusable) as error:
            self.ran_well(key, job)
            if isinstance(in_batch, Miscounted) and isinstance(error, Miscounted) and not was_alone:
                return model_failure(f"{in_batch}; for this image alone, {error}")
            return model_failure(str(error))
        self.ran_well(key, job)
        return run

    def ran_well(self, key: ModelKey, job: str) -> None:
        """An image or a batch of the job left the process of the model alive."""
        with self._lock:
            self._killers.pop((job, key.model.sha256), None)

    def _count(self, key: ModelKey, job: str, name: str, death: HostDied) -> None:
        with self._lock:
            killers = self._killers.setdefault((job, key.model.sha256), set())
            killers.add(name)  # one that runs again, since the worker stops, counts once
            if len(self._killers) > _REMEMBERED_JOBS:
                self._killers.popitem(last=False)
        if len(killers) >= MAX_KILLERS_IN_A_ROW:
            self.ran_well(key, job)
            raise ClassUnusable(
                f"'{key.model.python_class}' ended its process over {len(killers)} images in a "
                f"row, each alone in a process of its own, the last time: {death.message}.",
                "See 'headrace logs --job JOB' for what it printed.",
            )


def killed(death: HostDied) -> ItemFailure:
    """The failure of an image over which a user's class ended its process, twice."""
    message = f"It ended the process of its class twice, the second time alone: {death.message}."
    return ItemFailure.of(ItemErrorCode.KILLED_WORKER, message)
