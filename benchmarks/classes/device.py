import json
import os
import time
from pathlib import Path

HOME = Path(os.environ["DEVICE_HOME"])
# What it is told holds for a job; whatever is asked of the system between two runs lets the other
# threads have the interpreter, which a device would not wait for.
TOLD_SECONDS = 0.5


class Device:
    """Takes a fixed time for each image and holds no lock meanwhile, like a device would.

    ``device.json`` in the home says how fast it is, and where it notes when each run began and
    ended.
    """

    def __init__(self):  # type: ignore[no-untyped-def]
        self._used_at = float("-inf")

    def __call__(self, images):  # type: ignore[no-untyped-def]
        started = time.time()
        if started - self._used_at > TOLD_SECONDS:
            told = json.loads((HOME / "device.json").read_text())
            self._rate = told["images_per_second"]
            self._runs = os.open(told["runs"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        time.sleep(len(images) / self._rate)
        self._used_at = time.time()
        os.write(self._runs, f"{started:.6f} {self._used_at:.6f} {len(images)}\n".encode())
        return [("any", 1.0)] * len(images)
