"""One ``models pull`` for all stacks of a run: each export takes ten seconds of a core."""

from __future__ import annotations

import fcntl
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.support.stack import Stack

BUCKET = "models"
DOWNLOADS = Path("cache", "downloads")


@dataclass(frozen=True, slots=True)
class PulledModels:
    """The first stack that asks pulls a model, and the others get what came of it.

    ``folder``: where it is kept, the same for all processes that run tests.
    """

    folder: Path

    def give(self, stack: Stack, name: str) -> None:
        """Have the model in a stack that is up, and its download in the stack's home."""
        kept = self.folder / name
        kept.mkdir(parents=True, exist_ok=True)
        with (kept / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (kept / "objects").exists():
                stack.run("models", "pull", name, timeout=300)
                shutil.copytree(stack.home / DOWNLOADS, kept / "downloads", dirs_exist_ok=True)
                _save(stack, f"{name}/", kept / "objects")
                return
        shutil.copytree(kept / "downloads", stack.home / DOWNLOADS, dirs_exist_ok=True)
        stack.put(BUCKET, _objects(kept / "objects"))


def _save(stack: Stack, prefix: str, folder: Path) -> None:
    """Write the objects to files of a folder that is there only once it has all of them."""
    partly = folder.with_name("partly")
    for entry in stack.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]:
        path = partly / entry["Key"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stack.s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read())
    partly.rename(folder)


def _objects(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
