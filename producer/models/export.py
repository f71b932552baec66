"""Exporting models to graphs, in a process of its own: the producer's side imports no torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from shared.catalog.exports import ExportedModel, ExportRequest
from shared.errors import HeadraceError
from shared.settings import PROJECT_ROOT

MODULE = "workers.inference.export"

Export = Callable[[ExportRequest], ExportedModel]


def export_model(request: ExportRequest) -> ExportedModel:
    """Write ``request.output``, and return what it is.

    Raises HeadraceError ``export_failed`` with what the exporter said.
    """
    ran = subprocess.run(
        [sys.executable, "-m", MODULE],
        input=request.model_dump_json(),
        capture_output=True,
        text=True,
        errors="replace",
        cwd=PROJECT_ROOT,
        check=False,
    )
    if ran.returncode == 0:
        return ExportedModel.model_validate_json(ran.stdout.splitlines()[-1])
    lines = [line.strip() for line in ran.stderr.splitlines() if line.strip()]
    reason = lines[-1] if lines else f"exit code {ran.returncode}"
    if ran.returncode < 0:
        reason = f"it was ended by signal {-ran.returncode}, perhaps because memory ran out"
    raise HeadraceError("export_failed", f"The export to ONNX failed: {reason}")
