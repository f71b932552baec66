"""Where the probe is: which step it is at, and whether others there move on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from producer.connections import Connections
from producer.doctor.stalls.finding import described_worker
from producer.stack.roles import PRODUCER
from shared.job import JobSpec
from shared.ledger import ChunkPlace
from shared.stages import INFERENCE, PREPROCESS, RESULTS

# The stages of the probe's pipeline.
ROUTE = (PREPROCESS, INFERENCE, RESULTS)
# In the order of the flow. The last is the collector's, too: it makes the part and closes the job.
STEPS = (PRODUCER.name, *(stage.role for stage in ROUTE), "closing")
CLOSING = STEPS.index("closing")
ENDED = len(STEPS)

Others = dict[tuple[str, int], int]


@dataclass(frozen=True, slots=True)
class StepReport:
    """How the probe came through one step, or stands there. ``hint`` says what to do then."""

    step: str
    state: Literal["ok", "warning", "failed"]
    seconds: float
    detail: str
    hint: str = ""


class ProbePosition:
    """Looks where the probe's only chunk is. Methods raise TransientError."""

    def __init__(self, connections: Connections, spec: JobSpec) -> None:
        self._ledger, self._jobs, self._spec = connections.ledger, connections.jobs, spec
        self.place: ChunkPlace | None = None

    def step(self) -> int:
        """The step that the probe is at now, by its number; ``ENDED`` after the last."""
        places = self._ledger.places([self._spec.job_uid])
        self.place = places[0] if places else None
        if self.place is not None:
            return _step_of(self.place)
        progress = self._ledger.progress(self._spec.job_uid)
        is_done = progress is not None and progress.done_chunks > 0
        # One that the ledger does not know is closed, or not taken up yet.
        if (is_done or progress is None) and self._jobs.is_closed(self._spec.job_id):
            return ENDED
        return CLOSING if is_done else 0

    def others(self) -> Others:
        """The step of every chunk of other jobs that is at a stage of the probe's route."""
        uids = [uid for uid in self._ledger.jobs() if uid != self._spec.job_uid]
        places = [place for place in self._ledger.places(uids) if place.stage in ROUTE]
        return {(place.job_uid, place.chunk): _step_of(place) for place in places}


def overdue_report(
    position: ProbePosition, step: int, seconds: float, before: Others
) -> StepReport:
    """What to say of a probe that has been at a step for too long.

    ``before`` is what ``others`` said when it came there: where others have moved on since, the
    stack is busy and not broken. A job waits for room in the first queue before its first step.
    """
    queue = max(step, 1)
    after = position.others()
    ahead = [chunk for chunk, at in before.items() if at == queue]
    moved = sum(after.get(chunk, ENDED) > queue for chunk in ahead)
    waiting = sum(at == queue for at in after.values())
    name = STEPS[step]
    if moved and step != CLOSING:
        return StepReport(
            name,
            "warning",
            seconds,
            f"The probe image waits behind other chunks: {moved} moved on in {seconds:.0f} s, and "
            f"{waiting} are there.",
            "The stack is busy. Run it again later, or with a longer --timeout.",
        )
    role = RESULTS.role if step == CLOSING else name
    besides = f" Nor did any of {waiting} other chunks there move." if waiting else ""
    slow = (
        " A slow model may need a longer --timeout." if name == INFERENCE.role and waiting else ""
    )
    return StepReport(
        name,
        "failed",
        seconds,
        f"{_where(position.place, step, seconds)}.{besides}",
        f"See 'headrace logs {role}', then run 'headrace restart {role}'.{slow}",
    )


def _where(place: ChunkPlace | None, step: int, seconds: float) -> str:
    if step == 0:
        return f"The producer has not sent the probe image in {seconds:.0f} s"
    if step == CLOSING:
        return f"No collector has closed the probe's job in {seconds:.0f} s"
    if place is not None and place.state == "held" and _step_of(place) == step:
        return f"{described_worker(place.owner)} has held the probe image for {seconds:.0f} s"
    return f"No {STEPS[step]} process has taken the probe image in {seconds:.0f} s"


def _step_of(place: ChunkPlace) -> int:
    return STEPS.index(place.stage.role)
