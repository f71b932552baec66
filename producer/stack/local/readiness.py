"""Waiting until what was started answers, and saying why where it does not."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from producer.stack.home import Home
from producer.stack.local.log_lines import last_lines
from producer.stack.local.supervisor import Supervisor
from shared.errors import HeadraceError, TransientError
from shared.settings import Settings

POLL_SECONDS = 0.1
LOG_LINES = 15
# Started this often without ever answering, a process is broken and not merely slow.
STARTS = 4


class Watch:
    """Waits for processes until a deadline, and notices those that keep ending."""

    def __init__(self, home: Home, supervisor: Supervisor, timeout_seconds: float) -> None:
        self._home = home
        self._supervisor = supervisor
        self._timeout_seconds = timeout_seconds
        self._deadline = time.monotonic() + timeout_seconds
        self._seen: dict[str, set[int]] = {}

    def until(self, missing: Callable[[dict[str, int]], Collection[str]]) -> None:
        """Wait until ``missing(pids by name)`` names no process any more.

        Raises HeadraceError with the last lines of the log of one that it still names.
        """
        while names := missing(pids := self._supervisor.pids()):
            for name in names:
                starts = self._seen.setdefault(name, set())
                starts |= {pids[name]} if name in pids else set()
                if len(starts) >= STARTS:
                    raise self._failure(name, "keeps ending")
            if time.monotonic() > self._deadline:
                name = min(names)
                raise self._failure(name, f"did not answer in {self._timeout_seconds:.0f} seconds")
            time.sleep(POLL_SECONDS)

    def _failure(self, name: str, what: str) -> HeadraceError:
        path = self._home.logs / f"{name}.log"
        end = "\n".join(f"  {line}" for line in last_lines(path, LOG_LINES))
        return HeadraceError(
            "role_failed",
            f"{name} {what}.",
            f"{path} ends with:\n{end}" if end else f"{path} is empty.",
        )


def without_lease(
    settings: Settings, names: Collection[str]
) -> Callable[[dict[str, int]], set[str]]:
    """For Watch: those of ``names`` whose running process does not hold a live lease."""
    from shared.ledger import connect_ledger

    ledger = connect_ledger(settings)

    def missing(pids: dict[str, int]) -> set[str]:
        try:
            alive = {(worker.process, worker.pid) for worker in ledger.workers()}
        except TransientError:
            alive = set()
        return {name for name in names if (name, pids.get(name)) not in alive}

    return missing


def answers_http(url: str) -> bool:
    """Whether an HTTP server answers, past any proxy, with anything but an error of its own.

    User and password in the URL are left out: being asked for them is an answer.
    """
    parts = urlsplit(url)
    url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False
