"""Items run in order in a disposable child, so that a killer is known by its victims."""

from workers.suspects.trial import (
    MAX_LOST_RUNS,
    SUSPECT_LOSSES,
    ChildUnstartable,
    KillVerdict,
    Note,
    SuspectTrial,
)

__all__ = [
    "MAX_LOST_RUNS",
    "SUSPECT_LOSSES",
    "ChildUnstartable",
    "KillVerdict",
    "Note",
    "SuspectTrial",
]
