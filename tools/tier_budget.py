"""A pytest plugin for CI: how long each tier took, beside its budget.

A tier that outgrows its budget is named. It fails nothing: a slow machine is no bug.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import PurePath

import pytest

# What the tests of a tier take together on two idle cores, where three processes run them at once,
# as in ``make test``. The whole run takes about a third of the sum.
BUDGET_SECONDS = {"unit": 430, "contract": 150, "integration": 400, "e2e": 470, "fault": 930}


class TierBudget:
    """Adds up what the tests of each tier take, in whichever process."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called with the setup, the call and the teardown of each test."""
        folders = PurePath(report.nodeid.partition("::")[0]).parts[:-1]
        self._seconds[folders[1] if len(folders) > 1 else ""] += report.duration

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table."""
        terminalreporter.section("budget of each tier")
        for line in table(self._seconds):
            terminalreporter.write_line(line)


def table(seconds: dict[str, float]) -> list[str]:
    """A line for each tier that ran."""
    return [
        f"{tier:12} {seconds[tier]:5.0f} s of {budget} s"
        + ("  OVER ITS BUDGET" if seconds[tier] > budget else "")
        for tier, budget in BUDGET_SECONDS.items()
        if tier in seconds
    ]


def pytest_configure(config: pytest.Config) -> None:
    """In the process that hears of all tests, and not in those that run them."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(TierBudget())
