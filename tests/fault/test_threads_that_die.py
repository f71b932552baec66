"""A thread that dies ends its process, which says why; the job goes on in the next one."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

import pytest

from tests.support.injection.fingerprints import Fingerprints
from tests.support.injection.places import THREADS, Places, thread_place
from tests.support.injection.table import Line, note
from tests.support.stack import Stack
from tests.support.waiting import wait_for

# Threading passes over SystemExit in silence, and Celery over all but MemoryError in its timers.
RAISED = {"main": "MemoryError", "pump": "MemoryError"}


@pytest.fixture(scope="module")
def fingerprints(stack: Stack, plugins: Path) -> Fingerprints:
    made = Fingerprints(stack, plugins, "threads", images=64)
    made.learn()
    return made


def cases() -> list[dict[str, str]]:
    """One thread of each role at a time, by role."""
    rounds = zip_longest(*([(role, name) for name in of] for role, of in THREADS.items()))
    return [dict(filter(None, struck)) for struck in rounds]


@pytest.mark.parametrize("struck", cases(), ids=lambda case: " + ".join(case.values()))
def test_a_thread_that_dies_takes_its_process_along(
    stack: Stack, places: Places, fingerprints: Fingerprints, struck: dict[str, str]
) -> None:
    threads = ", ".join(f"{name} ({role})" for role, name in struck.items())
    line = Line(f"a thread dies: {threads}")
    before = {role: said(stack, role, name) for role, name in struck.items()}
    for role, name in struck.items():
        places.arm(thread_place(role, name), "raise", exception=RAISED.get(name, "SystemExit"))
    job = fingerprints.enqueue()
    died = {role: places.struck(thread_place(role, name)) for role, name in struck.items()}
    for role, name in struck.items():
        wait_for(
            lambda role=role: died[role] not in stack.pids(role), what=f"the end of the {role}"
        )
        assert said(stack, role, name) == before[role] + 1
    fingerprints.check(job, line)
    note(line)


def said(stack: Stack, role: str, thread: str) -> int:
    """How often the role's processes said that this thread ended."""
    text = "".join(path.read_text() for path in (stack.home / "logs").glob(f"{role}-*.log"))
    if thread == "main":
        return text.count("Unrecoverable error: MemoryError")
    return text.count(f"the thread '{thread}")
