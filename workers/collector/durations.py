"""Where time went: sums over chunks, and the device's share of it."""

from __future__ import annotations

from collections.abc import Iterable

from shared.messages import Timings
from shared.pipeline import Frozen

STEPS = ("fetch", "slot_wait", "decode", "device_wait", "device")


class Durations(Frozen):
    """Sums in seconds. ``device_*_at`` are Unix times, null where nothing ran on a device."""

    fetch_seconds: float = 0.0
    slot_wait_seconds: float = 0.0
    decode_seconds: float = 0.0
    device_wait_seconds: float = 0.0
    device_seconds: float = 0.0
    device_started_at: float | None = None
    device_ended_at: float | None = None

    def of_step(self, step: str) -> float:
        """Seconds of one of ``STEPS``."""
        return float(getattr(self, f"{step}_seconds"))

    @property
    def device_busy(self) -> float | None:
        """Device seconds over the span from the first run's start to the last one's end.

        Between 0 and 1; one device is assumed, so several together count as busy when one is.
        Null where nothing ran. The clocks are those of the device workers' hosts.
        """
        if self.device_started_at is None or self.device_ended_at is None:
            return None
        span = self.device_ended_at - self.device_started_at
        return min(1.0, self.device_seconds / span) if span > 0 else 1.0


def of_chunk(timings: Timings) -> Durations:
    """One chunk's. A chunk without a device run has zero for both of its times."""
    values = timings.model_dump()
    values["device_started_at"] = timings.device_started_at or None
    values["device_ended_at"] = timings.device_ended_at or None
    return Durations(**values)


def total(parts: Iterable[Durations]) -> Durations:
    """Sums, the first start and the last end."""
    known = list(parts)
    starts = [d.device_started_at for d in known if d.device_started_at is not None]
    ends = [d.device_ended_at for d in known if d.device_ended_at is not None]
    return Durations(
        **{f"{step}_seconds": sum(d.of_step(step) for d in known) for step in STEPS},
        device_started_at=min(starts, default=None),
        device_ended_at=max(ends, default=None),
    )
