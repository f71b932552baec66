"""A role that the product does not have, put into the tables with its stage by a test alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from producer.stack.object_rights import allow
from producer.stack.roles import CHUNK_KEYS, ROLES, Role, half_the_cores
from shared.stages import PREPROCESS, RESULTS, STAGES
from tests.support.planted_stage import STAGE

ROLE = Role(
    STAGE.role,
    module="tests.support.workers.planted_worker",
    sends_to=(RESULTS, PREPROCESS),  # to the first again: chunks that it gives back
    ledger_keys=CHUNK_KEYS,
    broker_rules=("(+get ~colours:*)",),
    object_rights=(allow("GetObject", "{models}/*"), allow("PutObject", "*/pictures/*")),
    processes=half_the_cores,
    uses_ring=True,
    has_gpu_service=True,
)


def plant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add both, until the test ends."""
    monkeypatch.setitem(STAGES, STAGE.name, STAGE)
    monkeypatch.setitem(ROLES, ROLE.name, ROLE)


@contextmanager
def only_roles(*names: str) -> Iterator[None]:
    """Leave only these in the table for a while."""
    before = dict(ROLES)
    try:
        for name in before.keys() - set(names):
            del ROLES[name]
        yield
    finally:
        ROLES.clear()
        ROLES.update(before)  # in their order
