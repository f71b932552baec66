"""What is imported by what every command and message begins with: nothing slow, nothing far."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from shared.settings import PROJECT_ROOT

_SLOW = {"pyarrow", "numpy", "torch", "PIL"}


def imported_by(module: str) -> set[str]:
    """The names of all modules that there are once a new process has imported ``module``."""
    code = f"import json, sys, {module}; print(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("module", ["shared.pipeline", "shared.analyses", "shared.messages"])
def test_enqueueing_needs_no_arrays(module: str) -> None:
    assert _SLOW & imported_by(module) == set()


def test_views_stand_on_fields_placements_and_errors_alone() -> None:
    own = {name for name in imported_by("shared.views") if name.startswith("shared.")}
    others = {name for name in own if not name.startswith("shared.views")}
    assert others <= {"shared.errors", "shared.fields", "shared.kinds", "shared.placement"}
