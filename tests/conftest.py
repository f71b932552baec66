"""The real photos that a project may have beside it, for the tests that are marked so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROJECT_ROOT = Path(__file__).resolve().parent.parent


def shared_data_directory() -> Path:
    """``$HEADRACE_SHARED_DATA``, or ``shared/data`` beside the project."""
    configured = os.environ.get("HEADRACE_SHARED_DATA")
    return Path(configured) if configured else PROJECT_ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real files; the test skips where it is absent."""
    directory = shared_data_directory()
    if not directory.is_dir():
        pytest.skip(f"no real files in {directory} ($HEADRACE_SHARED_DATA names another place)")
    return directory


@pytest.fixture(scope="session")
def photos(shared_data: Path) -> list[Path]:
    """Real JPEG photos, in the order of their names."""
    return sorted((shared_data / "photos").glob("*.jpg"))
