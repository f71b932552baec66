"""What a user asks for, before anything is looked at."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from shared.job import MaxErrors

DEFAULT_CHUNK_ITEMS = 64
# The pipeline of the job that 'doctor' runs over one image.
PROBE_PIPELINE = "headrace-doctor"


@dataclass(frozen=True, slots=True)
class JobRequest:
    """The arguments of ``enqueue``. ``chunk_items`` None: 64, or as many as a slot holds."""

    source: str
    pipeline: str
    job_id: str | None = None
    chunk_items: int | None = None
    limit: int | None = None
    output: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    max_errors: MaxErrors | None = None


class Submitted(BaseModel):
    """The answer to ``enqueue`` and ``retry``."""

    job_id: str
