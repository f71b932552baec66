"""What a user asks for, before anything is looked at."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic import BaseModel

from shared.errors import UsageError
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


def parse_max_errors(text: str) -> MaxErrors:
    """What ``--max-errors`` means: ``100`` is a number of images, ``0.5%`` a share of the rows."""
    number = re.fullmatch(r"([0-9]{1,12})(\.[0-9]{1,6})?(%?)", text.strip())
    if number and number[3] and float(text.strip()[:-1]) <= 100:
        return MaxErrors(percent=float(text.strip()[:-1]))
    if number and not number[2] and not number[3]:
        return MaxErrors(images=int(number[1]))
    raise UsageError(
        "bad_max_errors",
        f"--max-errors cannot be {text!a}.",
        "Give a number of images, as in 100, or a percentage of them from 0% to 100%, as in 0.5%.",
    )


class Submitted(BaseModel):
    """The answer to ``enqueue`` and ``retry``."""

    job_id: str
