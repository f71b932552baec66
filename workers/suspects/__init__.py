"""Items run in order in a disposable child, so that a killer is known by its victims."""

from workers.suspects.trial import SUSPECT_LOSSES, ChildUnstartable, Deadly, Trial

__all__ = ["SUSPECT_LOSSES", "ChildUnstartable", "Deadly", "Trial"]
