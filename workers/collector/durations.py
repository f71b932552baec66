"""Where time went: sums over chunks, and the device's share of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from shared.messages import MAX_SECONDS, Timings

STEPS = ("fetch", "slot_wait", "decode", "device_wait", "device")
_DEVICE_TIMES = ("device_started_at", "device_ended_at")


def _with_nulls(timings: Timings) -> dict[str, float | None]:
    values = timings.model_dump()
    return {**values, **{name: values[name] or None for name in _DEVICE_TIMES}}


def _without_nulls(values: Any) -> Any:
    if not isinstance(values, dict):
        return values
    return {**values, **{name: values.get(name) or 0.0 for name in _DEVICE_TIMES}}


# As a footer has them: where nothing ran on a device its times are null, which are 0 in a message.
Durations = Annotated[Timings, BeforeValidator(_without_nulls), PlainSerializer(_with_nulls)]


def seconds_of(step: str, timings: Timings) -> float:
    """Seconds of one of ``STEPS``."""
    return float(getattr(timings, f"{step}_seconds"))


def total(parts: Iterable[Timings]) -> Timings:
    """Sums, the first start and the last end."""
    known = list(parts)
    sums = {step: sum(seconds_of(step, part) for part in known) for step in STEPS}
    return Timings(
        **{f"{step}_seconds": min(seconds, MAX_SECONDS) for step, seconds in sums.items()},
        device_started_at=min(filter(None, (p.device_started_at for p in known)), default=0.0),
        device_ended_at=max((p.device_ended_at for p in known), default=0.0),
    )


def device_busy(spent: Timings) -> float | None:
    """Device seconds over the span from the first run's start to the last one's end.

    Between 0 and 1; one device is assumed, so several together count as busy when one is. Null
    where nothing ran. The clocks are those of the device workers' hosts.
    """
    if not spent.device_started_at or not spent.device_ended_at:
        return None
    span = spent.device_ended_at - spent.device_started_at
    return min(1.0, spent.device_seconds / span) if span > 0 else 1.0
