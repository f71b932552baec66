"""What a user asks for, before anything is looked at."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic import BaseModel

from shared.errors import UsageError
from shared.job import MaxErrors

DEFAULT_CHUNK_ITEMS = 64
# Of --max-errors: no job has so many images.
MAX_DIGITS = 12
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
    found = re.fullmatch(r"([0-9]*(?:\.[0-9]+)?)\s*(%?)", text.strip())
    number, is_share = (found[1], bool(found[2])) if found else ("", False)
    is_long = len(number.replace(".", "")) > MAX_DIGITS
    if number and not is_long and is_share and float(number) <= 100:
        return MaxErrors(percent=float(number))
    if number and not is_long and not is_share and "." not in number:
        return MaxErrors(images=int(number))
    problem = f"may have at most {MAX_DIGITS} digits" if is_long else f"cannot be {text!a}"
    raise UsageError(
        "bad_max_errors",
        f"--max-errors {problem}.",
        "Give a number of images, as in 100, or a percentage of them from 0% to 100%, as in 0.5%.",
    )


class Submitted(BaseModel):
    """The answer to ``enqueue`` and ``retry``."""

    job_id: str
