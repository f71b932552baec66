"""Whether a chunk's pixels stay on this host, and whose queue they go to otherwise."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from shared.errors import TransientError
from shared.stages import INFERENCE, queue_name
from workers.preprocess import routes
from workers.preprocess.routes import HOSTS_LOOK_SECONDS, Routes, waiting_chunks


class Hosts:
    """What the ledger says, and how often it was asked; time is the test's."""

    def __init__(self) -> None:
        self.waiting: dict[str, int] = {}
        self.looks, self.now, self.is_down = 0, 0.0, False

    def look(self) -> dict[str, int]:
        self.looks += 1
        if self.is_down:
            raise TransientError("ledger_unavailable", "Not now.")
        return dict(self.waiting)

    def later(self, **waiting: int) -> None:
        self.waiting = waiting
        self.now += HOSTS_LOOK_SECONDS


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Hosts:
    hosts = Hosts()
    monkeypatch.setattr(routes, "time", SimpleNamespace(monotonic=lambda: hosts.now))
    return hosts


@pytest.fixture
def here(hosts: Hosts) -> Routes:
    return Routes("here", hosts.look)


def test_pixels_stay_while_a_worker_lives_here_however_long_its_queue(
    hosts: Hosts, here: Routes
) -> None:
    hosts.later(here=1000, there=0)
    assert (here.is_here(), here.host()) == (True, "here")


def test_without_one_the_shortest_queue_is_next(hosts: Hosts, here: Routes) -> None:
    hosts.later(near=2, far=0)
    assert not here.is_here()
    assert [here.host() for _ in range(4)] == ["far", "far", "near", "far"]


def test_where_nobody_lives_the_last_route_holds(hosts: Hosts, here: Routes) -> None:
    hosts.later()
    assert here.host() == "here"
    hosts.later(there=0)
    assert here.host() == "there"
    hosts.later()
    assert (here.is_here(), here.host()) == (False, "there")
    hosts.later(here=0)
    assert here.host() == "here"


def test_a_ledger_that_does_not_answer_changes_nothing(hosts: Hosts, here: Routes) -> None:
    hosts.later(there=0)
    assert here.host() == "there"
    hosts.is_down = True
    hosts.later(here=0)
    assert here.host() == "there"


def test_it_looks_once_a_second(hosts: Hosts, here: Routes) -> None:
    for _ in range(100):
        here.is_here()
        here.host()
    assert hosts.looks == 1
    hosts.later()
    here.is_here()
    assert hosts.looks == 2


def test_the_chunks_of_both_lanes_count() -> None:
    queued = {
        queue_name(INFERENCE, "bulk", "near"): 3,
        queue_name(INFERENCE, "interactive", "near"): 2,
        queue_name(INFERENCE, "interactive", "far"): 4,
    }
    ledger: Any = SimpleNamespace(
        hosts=lambda role: {"near", "far"} if role == INFERENCE.role else set(),
        queued_count=lambda queue: queued.get(queue, 0),
    )
    assert waiting_chunks(ledger) == {"near": 5, "far": 4}
