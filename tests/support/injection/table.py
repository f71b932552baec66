"""The fault table: each fault test notes a line, and ``make test-fault`` writes the whole.

``python -m tests.support.injection.table LINES.jsonl > docs/FAULTS.md``
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.support.auditor import Verdict
from tests.support.injection.extent import FULL


@dataclass(slots=True)
class Line:
    """What came of one fault, over all of its runs.

    ``worst_recovery_seconds``: from the blow, or from the end of an outage, to the next chunk file.
    """

    fault: str
    runs: int = 0
    images: int = 0
    rows: int = 0
    lost: int = 0
    doubled: int = 0
    strangers: int = 0
    worst_recovery_seconds: float | None = None
    remark: str = ""

    def add(self, verdict: Verdict, recovery_seconds: float | None = None) -> None:
        """Count one more run."""
        self.runs += 1
        self.images += verdict.objects
        self.rows += verdict.rows
        self.lost += len(verdict.lost)
        self.doubled += len(verdict.doubled)
        self.strangers += len(verdict.strangers)
        if recovery_seconds is not None:
            self.worst_recovery_seconds = round(
                max(recovery_seconds, self.worst_recovery_seconds or 0.0), 1
            )


@dataclass(slots=True)
class Trial:
    """What one try of a test says: its line, or the error that it ended with, or that it passed."""

    test: str
    version: str
    load: float
    line: Line | None = None
    error: str | None = None


def note(line: Line) -> None:
    """Append a line to ``$FAULT_LINES``, if it is set, and print it."""
    print(f"\n{line}")
    _append(os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0], line=line)


def note_end(test: str, error: str | None) -> None:
    """Append that a test passed or failed, whether or not it has noted its line before."""
    _append(test, error=error)


def _append(test: str, line: Line | None = None, error: str | None = None) -> None:
    if path := os.environ.get("FAULT_LINES"):
        version = os.environ.get("FAULT_VERSION", "unknown")
        trial = Trial(test, version, round(os.getloadavg()[0], 1), line, error)
        with Path(path).open("a") as file:
            file.write(json.dumps(asdict(trial)) + "\n")


def render(trials: Iterable[Trial], seed: str) -> str:
    """The table as Markdown. Of a test that was tried again its last try counts, and it says so."""
    trials = list(trials)
    of_test: dict[str, list[Trial]] = {}
    for trial in trials:
        of_test.setdefault(trial.test, []).append(trial)
    version = _most_common(trial.version for trial in trials)
    loads = [trial.load for trial in trials] or [0.0]
    extent = "all of it" if FULL else "a short case of each"
    head = [
        "# Faults, and what came of them",
        "",
        f"Written by `make test-fault`: {extent}; seed {seed}, version {version}, "
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, load average {min(loads):.0f} to {max(loads):.0f}.",
        "Each run is a job on the real stack, judged by the auditor from the rows in the bucket.",
        "",
        "| fault | runs | images | rows | lost | doubled | strangers | worst recovery, s | |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    notes: dict[str, int] = {}
    rows = [_row(tries, version, notes) for tries in of_test.values()]
    body = [
        f"| {line.fault} | {line.runs} | {line.images} | {line.rows} | {line.lost} "
        f"| {line.doubled} | {line.strangers} "
        f"| {'' if line.worst_recovery_seconds is None else line.worst_recovery_seconds} "
        f"| {remark} |"
        for line, remark in sorted(filter(None, rows), key=_kind)
    ]
    why = [f"{number}. {error}" for error, number in notes.items()]
    tail = ["", "What failed, and how:", "", *why] if why else []
    return "\n".join([*head, *body, *tail]) + "\n"


def _most_common(versions: Iterable[str]) -> str:
    return next((version for version, _ in Counter(versions).most_common(1)), "unknown")


def _row(tries: list[Trial], version: str, notes: dict[str, int]) -> tuple[Line, str] | None:
    """A test's last line, and all that is to be said of it; None where there is nothing."""
    last = tries[-1]
    line = next((trial.line for trial in reversed(tries) if trial.line), None)
    errors = [f"Version {trial.version}: {trial.error}" for trial in tries if trial.error]
    if line is None and not errors:  # it passed, and has no figures
        return None
    for error in errors:
        notes.setdefault(error, len(notes) + 1)
    line = line or Line(last.test)
    said = [line.remark]
    if last.error is not None:
        said.append(f"**FAILED**, see {notes[errors[-1]]} below")
    elif errors:
        said.append(f"failed first, see {notes[errors[-1]]} below")
    if last.version != version:
        said.append(f"version {last.version}, load {last.load:.0f}")
    return line, "; ".join(filter(None, said)).replace("|", "/")


def _kind(row: tuple[Line, str]) -> str:
    """Faults of one kind stand together, whichever of the tests came to its end first."""
    return row[0].fault.partition(":")[0].lower()


def _trial(text: str) -> Trial:
    values: dict[str, Any] = json.loads(text)
    line = values.pop("line")
    return Trial(**values, line=Line(**line) if line else None)


def main(path: str) -> int:
    """Print the table of the tries in ``path``."""
    trials = [_trial(text) for text in Path(path).read_text().splitlines()]
    print(render(trials, os.environ.get("FAULT_SEED", "unknown")), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
