"""What a stack looked like when a test on it failed, short enough for the end of a CI log."""

from __future__ import annotations

import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

from producer.stack.local.states import processes
from tests.support.stack import ROOT, Stack

ANSWER_SECONDS = 30
LOG_LINES, LINE_CHARACTERS = 4, 180
WORKERS = ("preprocess", "inference", "collector")
# Celery's workers write the stacks of all their threads to their logs when they get SIGUSR1.
STACKS_SECONDS = 2.0
FRAME = re.compile(rf'"{re.escape(str(ROOT))}/((?:workers|shared)/[^"]+)", line (\d+), in (\w+)')


def post_mortem(stack: Stack) -> str:
    """Processes, the newest jobs, and the end of each role's log, with where its threads are."""
    parts = [_typed(stack, command) for command in ("ps", "jobs")]
    return "\n".join([*parts, *_logs(stack)])


def _typed(stack: Stack, command: str) -> str:
    try:
        answer = stack.run(command, check=False, timeout=ANSWER_SECONDS)
    except Exception as error:  # noqa: BLE001 - it is about what does not work
        return f"{command}: {error}"
    return "\n".join(f"{answer.stdout}{answer.stderr}".splitlines()[:16])


def _logs(stack: Stack) -> list[str]:
    states = [state for state in processes(stack.home) if state.role in (*WORKERS, "producer")]
    found = []
    for state in states:
        log = stack.home / "logs" / f"{state.name}.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        found += [f"-- {state.name}", *(line[:LINE_CHARACTERS] for line in lines[-LOG_LINES:])]
        if state.role in WORKERS and state.pid:
            with suppress(OSError):  # it may die meanwhile
                found += _threads(state.pid, log)
    return found


def _threads(pid: int, log: Path) -> list[str]:
    """The innermost frame in code of ours of each thread that has one."""
    before = size = log.stat().st_size
    os.kill(pid, signal.SIGUSR1)
    deadline = time.monotonic() + STACKS_SECONDS
    while time.monotonic() < deadline:  # until it has grown and grows no more
        time.sleep(0.2)
        last, size = size, log.stat().st_size
        if size == last > before:
            break
    with log.open(errors="replace") as written:
        written.seek(before)
        threads = written.read().split("LOCAL VARIABLES")
    innermost = (FRAME.findall(thread)[-1:] for thread in threads)
    return [f"   {path}:{line} {name}" for frames in innermost for path, line, name in frames]
