"""What there is to know of a stack, as ``info`` and ``ps`` show it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, Field

from producer.connections import connect_stack
from producer.doctor.stalls import Finding, findings
from producer.stack.local import ProcessState
from producer.stack.stack import current_stack
from shared.errors import HeadraceError
from shared.ledger import Ledger, LiveWorker
from shared.settings import S3Settings, default_home, load_settings
from shared.stages import Lane, queues

MASK = "***"

# Chunks in hand, by the name of a lease and the process id, or by the name alone.
Held = dict[tuple[str, int | None], int]


class QueueRow(BaseModel):
    """A queue, the role that consumes it and the Celery task that it carries.

    ``lane``: a role looks at its interactive queue first.
    """

    name: str
    role: str
    task: str
    lane: Lane


class ProcessPid(BaseModel):
    """A process; ``pid`` is the one to signal."""

    role: str
    name: str
    pid: int


class StackInfo(BaseModel):
    """Where everything of a stack is, with the admin's credentials."""

    home: str
    mode: str
    broker_url: str
    ledger_url: str
    staging_url: str
    s3: S3Settings
    flower_url: str
    queues: list[QueueRow]
    processes: list[ProcessPid]

    def masked(self) -> StackInfo:
        """The same without passwords and keys."""
        s3 = self.s3.model_copy(update={"access_key": MASK, "secret_key": MASK})
        urls = ("broker_url", "ledger_url", "staging_url", "flower_url")
        return self.model_copy(
            update={"s3": s3, **{name: masked_url(getattr(self, name)) for name in urls}}
        )


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


def stack_info() -> StackInfo:
    """The stack of this home, whether it is up or not. Raises UsageError where none is set up."""
    settings = load_settings()
    return StackInfo(
        home=str(settings.home),
        mode=settings.mode,
        broker_url=settings.broker_url,
        ledger_url=settings.ledger_url,
        staging_url=settings.staging_url,
        s3=settings.s3,
        flower_url=settings.flower_url,
        queues=[
            QueueRow(name=q.name, role=q.stage.role, task=q.stage.task, lane=q.lane)
            for q in queues(settings.host_id)
        ],
        processes=[
            ProcessPid(role=process.role, name=process.name, pid=process.pid)
            for process in processes(settings.home)
        ],
    )


def processes(home: Path) -> list[ProcessState]:
    """Every process of the stack that this command is about; none where it is not up."""
    return current_stack().processes(home)


def process_rows(warn: Callable[[str], None], home: Path | None = None) -> list[ProcessRow]:
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


def _workers(ledger: Ledger, warn: Callable[[str], None]) -> list[LiveWorker] | None:
    try:
        return ledger.workers()
    except HeadraceError as error:
        warn(str(error))
        return None


def _held(workers: list[LiveWorker]) -> Held:
    by_name: Held = {(worker.process, None): len(worker.held) for worker in workers}
    return by_name | {(worker.process, worker.pid): len(worker.held) for worker in workers}


def masked_url(url: str) -> str:
    """The URL without its password."""
    password = urlsplit(url).password
    return url.replace(f":{password}@", f":{MASK}@") if password else url
