"""What stands still though every lease is renewed, each in one line with what to do."""

from producer.standing.chunks import overdue_chunks
from producer.standing.consumers import missing_consumers
from producer.standing.finding import Finding
from producer.standing.slots import full_ring

__all__ = ["Finding", "full_ring", "missing_consumers", "overdue_chunks"]
