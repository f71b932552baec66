"""MinIO's own server, built from its last source: ``python -m tools.minio_server`` prints its path.

MinIO publishes no binaries and no images any more, and Go's module proxy still has the source. The
build takes some minutes once; the program is kept in the user's cache folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
MODULE = f"github.com/minio/minio@{VERSION}"


class NotBuilt(Exception):
    """The server is not there and cannot be made; the text says why, in one line."""


def minio_path() -> Path:
    """Where the program is once it has been built."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "headrace" / f"minio-{VERSION}"


def build() -> Path:
    """Build the program unless it is there. Raises NotBuilt without Go, or where Go fails."""
    path = minio_path()
    if path.exists():
        return path
    go = shutil.which("go")
    if go is None:
        raise NotBuilt("MinIO is built from source, and there is no Go here: install Go 1.26")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        print(f"Building MinIO {VERSION}, which takes some minutes.", file=sys.stderr)
        environment = {**os.environ, "GOBIN": folder, "CGO_ENABLED": "0"}
        done = subprocess.run([go, "install", MODULE], env=environment, check=False)
        if done.returncode:
            raise NotBuilt(f"Go could not build {MODULE}: exit code {done.returncode}")
        (Path(folder) / "minio").replace(path)  # at once, for another may build it too
    return path


def main() -> None:
    """Print the program's path; exit code 1 and one line where there is none."""
    try:
        print(build())
    except NotBuilt as error:
        sys.exit(f"{error}.")


if __name__ == "__main__":
    main()
