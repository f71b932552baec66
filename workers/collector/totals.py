"""Sums over chunks: what a footer says of one chunk, of a part, and of a job."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pydantic import BaseModel

from shared.messages import Result, Timings

STAGE_SECONDS = (
    "fetch_seconds",
    "slot_wait_seconds",
    "decode_seconds",
    "device_wait_seconds",
    "device_seconds",
)


class Totals(BaseModel):
    """Counts of rows, seconds by stage, and what computed them.

    ``device_started_at`` and ``device_ended_at`` are Unix times of the first and last device batch.
    """

    rows: int = 0
    succeeded: int = 0
    failed: int = 0
    seconds: dict[str, float] = dict.fromkeys(STAGE_SECONDS, 0.0)
    device_started_at: float | None = None
    device_ended_at: float | None = None
    engine: str | None = None
    precision: str | None = None
    device: str | None = None

    @property
    def device_busy(self) -> float | None:
        """Device seconds over the time between the first batch's start and the last one's end.

        Between 0 and 1; None where no device ran. With several devices it is the sum of their
        shares, cut at 1.
        """
        if self.device_started_at is None or self.device_ended_at is None:
            return None
        span = self.device_ended_at - self.device_started_at
        return min(1.0, self.seconds["device_seconds"] / span) if span > 0 else None


def totals_of(result: Result) -> Totals:
    """The totals of one chunk."""
    failed = sum(item.failure is not None for item in result.items)
    timings: Timings = result.timings
    ran = timings.device_ended_at > 0
    return Totals(
        rows=len(result.items),
        succeeded=len(result.items) - failed,
        failed=failed,
        seconds={name: getattr(timings, name) for name in STAGE_SECONDS},
        device_started_at=timings.device_started_at if ran else None,
        device_ended_at=timings.device_ended_at if ran else None,
        engine=result.engine,
        precision=result.precision,
        device=result.device,
    )


def sum_of(many: Iterable[Totals]) -> Totals:
    """Totals added up; the engine is the first that is known, for a job never mixes two."""
    total = Totals(seconds=dict.fromkeys(STAGE_SECONDS, 0.0))
    for one in many:
        total.rows += one.rows
        total.succeeded += one.succeeded
        total.failed += one.failed
        for name in STAGE_SECONDS:
            total.seconds[name] += one.seconds[name]
        total.device_started_at = _pick(min, total.device_started_at, one.device_started_at)
        total.device_ended_at = _pick(max, total.device_ended_at, one.device_ended_at)
        total.engine = total.engine or one.engine
        total.precision = total.precision or one.precision
        total.device = total.device or one.device
    return total


def _pick(choose: Callable[[list[float]], float], a: float | None, b: float | None) -> float | None:
    known = [value for value in (a, b) if value is not None]
    return choose(known) if known else None
