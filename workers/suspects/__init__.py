"""Items run in order in a disposable child, so that a killer is known by its victims."""

from workers.suspects.trial import (
    MOST_LOST_RUNS,
    SUSPECT_LOSSES,
    ChildUnstartable,
    Deadly,
    Note,
    Trial,
)

__all__ = ["MOST_LOST_RUNS", "SUSPECT_LOSSES", "ChildUnstartable", "Deadly", "Note", "Trial"]
