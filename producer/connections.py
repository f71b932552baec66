"""What a command needs to reach: the settings, the stores, the jobs and the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shared import ledger as ledgers
from shared.errors import UsageError
from shared.job_store import JobStore
from shared.ledger import Ledger
from shared.settings import Settings, load_settings
from shared.storage import Store, resolve_store


@dataclass(frozen=True, slots=True)
class Connections:
    """Connected lazily: making one sends nothing. ``store_of`` gives the store of a bucket."""

    settings: Settings
    jobs: JobStore
    ledger: Ledger
    store_of: Callable[[str], Store]


def connect_stack(home: Path | None = None) -> Connections:
    """To the stack of ``home``, by default the one that the environment names.

    Raises UsageError where no stack is set up.
    """
    settings = load_settings(home)
    state = settings.state_bucket
    return Connections(
        settings=settings,
        jobs=JobStore(resolve_store(settings, state), state),
        ledger=ledgers.connect_ledger(settings),
        store_of=lambda bucket: resolve_store(settings, bucket),
    )


def connect_stack_if_set_up(home: Path | None = None) -> Connections | None:
    """The same for commands that may run without a stack: None where none is set up."""
    try:
        return connect_stack(home)
    except UsageError as error:
        if error.code != "no_stack":
            raise
        return None
