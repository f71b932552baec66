"""The fault table: each fault test notes a line, and ``make test-fault`` writes the whole.

``python -m tests.injection.table LINES.jsonl > docs/FAULTS.md``
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.auditor import Verdict
from tests.injection.extent import FULL


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


def note(line: Line) -> None:
    """Append a line to ``$FAULT_LINES``, if it is set, and print it."""
    print(f"\n{line}")
    if path := os.environ.get("FAULT_LINES"):
        with Path(path).open("a") as file:
            file.write(json.dumps(asdict(line)) + "\n")


def render(lines: Iterable[Line], seed: str, version: str) -> str:
    """The table as Markdown."""
    extent = "all of it" if FULL else "a short case of each"
    head = [
        "# Faults, and what came of them",
        "",
        f"Written by `make test-fault`: {extent}; seed {seed}, version {version}, "
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}.",
        "Each run is a job on the real stack, judged by the auditor from the rows in the bucket.",
        "",
        "| fault | runs | images | rows | lost | doubled | strangers | worst recovery, s | |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    body = [
        f"| {line.fault} | {line.runs} | {line.images} | {line.rows} | {line.lost} "
        f"| {line.doubled} | {line.strangers} "
        f"| {'' if line.worst_recovery_seconds is None else line.worst_recovery_seconds} "
        f"| {line.remark} |"
        for line in sorted(lines, key=_kind)
    ]
    return "\n".join([*head, *body]) + "\n"


def _kind(line: Line) -> str:
    """Faults of one kind stand together, whichever of the tests came to its end first."""
    return line.fault.partition(":")[0].lower()


def main(path: str) -> int:
    """Print the table of the lines in ``path``."""
    lines = [Line(**json.loads(text)) for text in Path(path).read_text().splitlines()]
    version = os.environ.get("FAULT_VERSION", "unknown")
    print(render(lines, os.environ.get("FAULT_SEED", "unknown"), version), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
