"""A model that takes its time for each image, and notes which images it was given."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

_PLUGIN = """
import hashlib, os, time

FOLDER = %r

class Slow:
    def __call__(self, images):
        digests = [hashlib.md5(image.tobytes()).hexdigest() for image in images]
        with open(os.path.join(FOLDER, "inferred"), "a") as file:
            file.write("".join(digest + "\\n" for digest in digests))
        started = time.monotonic()
        while time.monotonic() - started < image_seconds() * len(images):
            time.sleep(0.01)
        return [("seen", 1.0) for _ in images]

def image_seconds():
    with open(os.path.join(FOLDER, "image_seconds")) as file:
        return float(file.read())
"""


class SlowModel:
    """The model among the plugins of a stack. ``pipeline`` is what to enqueue with."""

    def __init__(self, plugins: Path, image_seconds: float) -> None:
        self._noted, self._pace = plugins / "inferred", plugins / "image_seconds"
        self._noted.unlink(missing_ok=True)
        self.pipeline = str(plugins / "slow.yaml")
        (plugins / "slow_model.py").write_text(_PLUGIN.replace("%r", repr(str(plugins))))
        Path(self.pipeline).write_text("model: {python: 'slow_model:Slow'}\n")
        self.take(image_seconds)

    def take(self, image_seconds: float) -> None:
        """So long for each image, from now on."""
        new = self._pace.with_suffix(".new")
        new.write_text(str(image_seconds))
        new.replace(self._pace)

    def runs(self) -> Counter[str]:
        """How often each image was given to the model, by a digest of its pixels."""
        return Counter(self._noted.read_text().split()) if self._noted.exists() else Counter()
