"""What there is to know of a stack, as ``info`` shows it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel

from producer.stack.kinds import current_stack
from producer.stack.process_state import ProcessState
from shared.settings import S3Settings, load_settings
from shared.stages import Lane, queues

MASK = "***"


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


def masked_url(url: str) -> str:
    """The URL without its password."""
    password = urlsplit(url).password
    return url.replace(f":{password}@", f":{MASK}@") if password else url
