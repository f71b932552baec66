"""The vector of a file here, by the job's own pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from producer.connections import Connections
from producer.one_image import run_images
from producer.search.vectors import Vectors, scaled_to_unit
from shared.errors import PermanentError
from shared.job import JobSpec


def vector_of_file(connections: Connections, spec: JobSpec, column: str, path: Path) -> Vectors:
    """Its unit vector, of shape (1, numbers). Raises HeadraceError."""
    settings = connections.settings
    found = run_images(
        spec.pipeline, [str(path)], settings.home, models_bucket=settings.models_bucket
    )
    (row,) = found.rows
    if row["error_code"]:
        reason = f"{row['error_code']}: {row['error_message']}"
        raise PermanentError("image_failed", f"{str(path)!r} has no vector: {reason}")
    return scaled_to_unit(np.array([row[column]], np.float32))
