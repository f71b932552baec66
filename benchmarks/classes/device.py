import os
import time


class Device:
    """Takes a fixed time for each image and holds no lock meanwhile, like a device would."""

    def __init__(self) -> None:
        self._seconds = 1 / float(os.environ.get("SIMULATED_IMAGES_PER_SECOND", "300"))

    def __call__(self, images):  # type: ignore[no-untyped-def]
        time.sleep(len(images) * self._seconds)
        return [("any", 1.0)] * len(images)
