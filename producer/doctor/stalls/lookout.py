"""Looking at what stands still while a command follows a job."""

from __future__ import annotations

import time
from dataclasses import replace

from producer.connections import Connections
from producer.doctor.stalls import Finding, findings, late_messages
from producer.jobs.status import JobStatus
from shared.errors import HeadraceError

# A job without progress for so long is worth a look, and another one each time it passes again.
LOOK_SECONDS = 30.0


class Lookout:
    """Follows one job; ``said`` has each finding once, by all but its details, which change."""

    def __init__(self, connections: Connections) -> None:
        self.said: dict[Finding, str] = {}
        self._connections = connections
        self._seen: object = None
        self._since = time.monotonic()
        self._late: int | None = None

    def look(self, status: JobStatus) -> list[str]:
        """What is new to say; asks nobody while the job moves."""
        seen, now = (status.state, status.images), time.monotonic()
        if seen != self._seen or status.has_ended:
            self._seen, self._since = seen, now
            return []
        if now - self._since < LOOK_SECONDS:
            return []
        self._since = now
        try:
            found = self._findings(status.job_id)
        except HeadraceError:  # following the job says so
            return []
        fresh = {replace(f, detail=""): str(f) for f in found}
        new = {finding: text for finding, text in fresh.items() if finding not in self.said}
        self.said |= new
        return list(new.values())

    def _findings(self, job_id: str) -> list[Finding]:
        uid = self._connections.jobs.spec(job_id).job_uid
        found = findings(self._connections, job_uids=[uid])
        before, self._late = self._late, sum(self._connections.ledger.stale_counts().values())
        late = late_messages(before, self._late) if before is not None else None
        return [*found, late] if late else found
