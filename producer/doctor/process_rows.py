"""The processes of a stack with the chunks that they hold and what stands still, for ``ps``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, Field

from producer import Warn
from producer.connections import connect_stack
from producer.doctor.stalls import Finding, findings
from producer.stack.info import processes
from producer.stack.process_state import ProcessState
from shared.errors import HeadraceError
from shared.ledger import Ledger, LiveWorker
from shared.settings import default_home

# Chunks in hand, by the name of a lease and the process id, or by the name alone.
Held = dict[tuple[str, int | None], int]


class ProcessRow(BaseModel):
    """One line of ``ps``. ``held``: chunks in hand, null where the ledger does not say.

    Of a worker of another host only the lease is known: its state is ``elsewhere``, its name ends
    in ``@HOST``, its pid is one of that host, and its uptime 0. ``warnings``: what stands still
    there, each with what to do.
    """

    role: str
    name: str
    pid: int
    state: str
    uptime_seconds: float
    held: int | None
    warnings: list[str] = Field(default_factory=list)


def process_rows(warn: Warn, home: Path | None = None) -> list[ProcessRow]:
    """Every process of the stack, with what it holds. None where it is not up."""
    home = home or default_home()
    found = processes(home)
    if not found:
        return []
    connections = connect_stack(home)
    workers = _workers(connections.ledger, warn)
    host_id = connections.settings.host_id
    here = [worker for worker in workers or () if worker.host_id == host_id]
    held = None if workers is None else _held(here)
    elsewhere = [worker for worker in workers or () if worker not in here]
    rows = [*(_row(process, held) for process in found), *map(_row_elsewhere, elsewhere)]
    if workers:
        names = {w.name: (w.process if w in here else _name_elsewhere(w), w.pid) for w in workers}
        _add_warnings(rows, names, findings(connections, workers))
    return rows


def _add_warnings(
    rows: list[ProcessRow], names: dict[str, tuple[str, int]], found: Iterable[Finding]
) -> None:
    """Each to the process that it concerns, or to all of its role where that is not known.

    ``names``: the name and pid of a worker's row, by the name of its lease.
    """
    for finding in found:
        of_role = [row for row in rows if row.role == finding.role]
        place = names.get(finding.worker)
        for row in [row for row in of_role if (row.name, row.pid) == place] or of_role:
            row.warnings.append(str(finding))


def _row(process: ProcessState, held: Held | None) -> ProcessRow:
    return ProcessRow(
        role=process.role,
        name=process.name,
        pid=process.pid,
        state=process.state,
        uptime_seconds=process.uptime_seconds,
        held=None if held is None else held.get(_lease_of(process)),
    )


def _row_elsewhere(worker: LiveWorker) -> ProcessRow:
    return ProcessRow(
        role=worker.role,
        name=_name_elsewhere(worker),
        pid=worker.pid,
        state="elsewhere",
        uptime_seconds=0.0,
        held=len(worker.held),
    )


def _name_elsewhere(worker: LiveWorker) -> str:
    return f"{worker.process}@{worker.host_id}"


def _lease_of(process: ProcessState) -> tuple[str, int | None]:
    """A container has another pid outside; its lease bears a name of its own instead."""
    return (process.lease_name, None) if process.lease_name else (process.name, process.pid)


def _workers(ledger: Ledger, warn: Warn) -> list[LiveWorker] | None:
    try:
        return ledger.workers()
    except HeadraceError as error:
        warn(str(error))
        return None


def _held(workers: list[LiveWorker]) -> Held:
    by_name: Held = {(worker.process, None): len(worker.held) for worker in workers}
    return by_name | {(worker.process, worker.pid): len(worker.held) for worker in workers}
