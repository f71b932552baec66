"""A pytest plugin for CI: where the shared photos are, a test that needs them may not skip."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skip of a test marked ``shared_data`` into a failure."""
    report = yield
    if report.skipped and SHARED_DATA.is_dir() and item.get_closest_marker("shared_data"):
        report.outcome = "failed"
        report.longrepr = f"skipped although {SHARED_DATA} is there: {report.longrepr}"
    return report
