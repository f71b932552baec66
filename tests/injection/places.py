"""Named places in the product at which a test kills, stops or breaks the process that gets there.

The product knows nothing of them: ``hooks/sitecustomize.py`` wraps the functions named here in the
processes of a stack that was started with ``environment``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.waiting import wait_for

HOOKS = Path(__file__).parent / "hooks"


@dataclass(frozen=True, slots=True)
class Place:
    """Before or after a function, ``module:name`` or ``module:Class.name``, in a role's process.

    A module runs as ``__main__`` cannot have places: name the function where it is defined, and not
    where another module has imported it by ``from``.
    """

    role: str
    function: str
    when: str = "before"


PLACES: dict[str, Place] = {
    "fetched": Place("preprocess", "workers.preprocess.fetch:Fetcher.fetch", "after"),
    "half staged": Place("preprocess", "workers.preprocess.stage:_stage"),
}
# Those that a job comes by seldom; what happens there is for tests of their own.
MOMENTS: dict[str, Place] = {
    "segment to be written": Place("producer", "producer.lister:Lister._flush"),
    "last chunk recorded": Place("collector", "shared.ledger.ledger:Ledger.finish", "after"),
    "part to be written": Place("collector", "workers.collector.rollup:RollUp._make"),
    "manifest to be written": Place("collector", "workers.collector.closing:_standing"),
    "marker to be written": Place("collector", "workers.collector.closing:_standing", "after"),
    "closing to be written": Place("collector", "workers.collector.closing:record"),
    "chunk files to be deleted": Place("collector", "workers.collector.closing:drop_chunk_files"),
}


class Places:
    """The places of one stack. ``environment`` is for the stack, before it is started."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        table = {
            name: {"function": place.function, "when": place.when}
            for name, place in (PLACES | MOMENTS).items()
        }
        (directory / "places.json").write_text(json.dumps(table))
        self.environment = {"INJECTION_DIR": str(directory), "PYTHONPATH": str(HOOKS)}

    def arm(self, name: str, action: str = "kill", *, passing: int = 0, **more: Any) -> None:
        """The first process that gets to the place, after ``passing`` calls of it, acts, once.

        Actions: kill, stop (SIGSTOP), hang (``seconds``), raise (``exception``, its dotted name),
        skip (the call returns None).
        """
        assert name in PLACES | MOMENTS, name
        for old in self._directory.glob(f"{name}.*.struck"):
            old.unlink()
        new = self._directory / f"{name}.new"
        new.write_text(json.dumps({"action": action, "passing": passing, **more}))
        new.rename(self._directory / name)

    def disarm(self, name: str) -> None:
        """Nothing happens there any more."""
        (self._directory / name).unlink(missing_ok=True)

    def struck(self, name: str, *, deadline_seconds: float = 60) -> int:
        """Wait until a process got there. Returns its pid."""
        found = wait_for(
            lambda: list(self._directory.glob(f"{name}.*.struck")),
            what=f"a process at the place '{name}'",
            deadline_seconds=deadline_seconds,
        )
        return int(found[0].name.split(".")[-2])
