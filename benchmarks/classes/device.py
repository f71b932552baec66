import json
import os
import time
from pathlib import Path

HOME = Path(os.environ["HEADRACE_HOME"])


class Device:
    """Takes a fixed time for each image and holds no lock meanwhile, like a device would.

    ``device.json`` in the home says how fast it is, and where it notes when each run began and
    ended.
    """

    def __call__(self, images):  # type: ignore[no-untyped-def]
        started = time.time()
        told = json.loads((HOME / "device.json").read_text())
        time.sleep(len(images) / told["images_per_second"])
        with Path(told["runs"]).open("a") as runs:
            runs.write(f"{started:.6f} {time.time():.6f} {len(images)}\n")
        return [("any", 1.0)] * len(images)
