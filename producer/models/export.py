"""Exporting weights to ONNX, in a process of its own: the producer's side imports no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pydantic import BaseModel

from shared.catalog import ModelConstants
from shared.errors import HeadraceError
from shared.model import OutputName
from shared.settings import PROJECT_ROOT

MODULE = "workers.inference.export"


# What a graph gives, where the network has it.
OUTPUTS = ("scores", "features")


class _Exported(BaseModel):
    """What the exporter prints: how many numbers each output of the graph has for an image."""

    outputs: dict[OutputName, int]


def export_onnx(weights: Path, constants: ModelConstants, output: Path) -> dict[str, int]:
    """Write ``output``. Returns what the graph gives: how many numbers for an image, by name.

    Raises HeadraceError ``export_failed`` with what the exporter said.
    """
    command = [sys.executable, "-m", MODULE, "--weights", str(weights.absolute())]
    command += ["--architecture", constants.architecture, "--output", str(output.absolute())]
    command += ["--mean", *map(repr, constants.mean), "--std", *map(repr, constants.std)]
    command += ["--image-pixels", str(constants.view.canvas[0]), "--outputs", ",".join(OUTPUTS)]
    ran = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        cwd=PROJECT_ROOT,
        check=False,
    )
    if ran.returncode == 0 and output.exists():
        return _Exported.model_validate_json(ran.stdout.splitlines()[-1]).outputs
    lines = [line.strip() for line in ran.stderr.splitlines() if line.strip()]
    reason = lines[-1] if lines else f"exit code {ran.returncode}"
    if ran.returncode < 0:
        reason = f"it was ended by signal {-ran.returncode}, perhaps because memory ran out"
    raise HeadraceError("export_failed", f"The export to ONNX failed: {reason}")
