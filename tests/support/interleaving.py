"""Runs actors over one store in every order of their requests: a model check of the real code."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from tests.support.memory_store import MemoryStore

_T = TypeVar("_T")
_DEADLINE_SECONDS = 30.0


class Killed(BaseException):
    """The actor is killed before its next request."""


class _Actor:
    def __init__(self, action: Callable[[], object], die_at: int | None) -> None:
        self.action, self.die_at = action, die_at
        self.requests, self.ended = 0, False
        self.error: BaseException | None = None
        self.go, self.waits = threading.Semaphore(0), threading.Semaphore(0)
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.pause()
            self.action()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - it is raised in the test's thread
            self.error = error
        finally:
            self.ended = True
            self.waits.release()

    def pause(self) -> None:
        self.waits.release()
        assert self.go.acquire(timeout=_DEADLINE_SECONDS)
        if self.requests == self.die_at:
            raise Killed
        self.requests += 1


class SteppedStore(MemoryStore):
    """A store whose requests wait for their turn, where an actor makes them."""

    actors: tuple[_Actor, ...] = ()

    def request(self, name: str, key: str, action: Callable[[], _T]) -> _T:
        for actor in self.actors:
            if actor.thread is threading.current_thread():
                actor.pause()
        return super().request(name, key, action)

    def play(
        self, turns: list[int], *actions: Callable[[], object], die_at: int | None = None
    ) -> None:
        """Run the actions to their ends, in the order that ``turns`` says, of those that go on.

        ``die_at``: the request before which the first of them is killed. Makes of ``turns`` the
        start of the next order: it needs one more at its end, and is empty after the last.
        """
        self.actors = tuple(
            _Actor(action, None if number else die_at) for number, action in enumerate(actions)
        )
        choices: list[int] = []
        for actor in self.actors:
            actor.thread.start()
            assert actor.waits.acquire(timeout=_DEADLINE_SECONDS)
        while live := [actor for actor in self.actors if not actor.ended]:
            if len(choices) == len(turns):
                turns.append(0)
            actor = live[turns[len(choices)] % len(live)]
            choices.append(len(live))
            actor.go.release()
            assert actor.waits.acquire(timeout=_DEADLINE_SECONDS)
        errors = [actor.error for actor in self.actors if actor.error]
        self.actors = ()
        if errors:
            raise errors[0]
        del turns[len(choices) :]
        while turns and turns[-1] + 1 >= choices[len(turns) - 1]:
            turns.pop()


def every_order() -> Iterator[list[int]]:
    """Turns for ``SteppedStore.play``, until it has shortened them to none."""
    turns: list[int] = []
    while True:
        yield turns
        if not turns:
            return
        turns[-1] += 1
