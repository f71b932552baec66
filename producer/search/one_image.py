"""The vector of a file here, computed by a process: the producer imports no image library."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from producer.search.vectors import Vectors, scaled_to_unit
from shared.errors import HeadraceError, PermanentError, UsageError
from shared.job import JobSpec
from shared.settings import PROJECT_ROOT

MODULE = "workers.one_image"


def vector_of_file(spec: JobSpec, column: str, path: Path) -> Vectors:
    """Its unit vector by the job's own pipeline, of shape (1, numbers).

    The process takes the pipeline as JSON on stdin and the file as its argument, and prints
    ``{"rows": [{COLUMN: …, "error_code": …, …}]}``. Raises HeadraceError.
    """
    if not PROJECT_ROOT.joinpath(*MODULE.split(".")).with_suffix(".py").exists():
        raise UsageError(
            "no_vector_of_file",
            f"{str(path)!r} is a file, and this version computes no vector of one.",
            "Upload it to the job's bucket, enqueue the pipeline over it, and name its key.",
        )
    ran = subprocess.run(
        [sys.executable, "-m", MODULE, str(path.absolute())],
        input=spec.pipeline.model_dump_json(),
        capture_output=True,
        text=True,
        errors="replace",
        cwd=PROJECT_ROOT,
        check=False,
    )
    if ran.returncode:
        lines = [line.strip() for line in ran.stderr.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"exit code {ran.returncode}"
        raise HeadraceError("file_not_computed", f"Cannot compute {str(path)!r}: {reason}")
    (row,) = json.loads(ran.stdout)["rows"]
    if row["error_code"]:
        reason = f"{row['error_code']}: {row['error_message']}"
        raise PermanentError("image_failed", f"{str(path)!r} has no vector: {reason}")
    return scaled_to_unit(np.array([row[column]], np.float32))
