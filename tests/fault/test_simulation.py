"""A thousand seeds of the simulation, whose failing ones say how to replay them alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SEEDS = 1000


def test_no_seed_loses_doubles_or_mixes_up_a_row() -> None:
    command = [sys.executable, "-m", "tests.simulation", f"--seeds={SEEDS}", "--processes=2"]
    played = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(played.stdout)
    assert played.returncode == 0, played.stdout + played.stderr
