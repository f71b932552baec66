"""A stack of its own whose roles reach broker, ledger and store through proxies."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from producer.stack.settings_file import role_settings_file
from shared.ledger import connect_ledger
from shared.settings import load_settings
from tests.support.injection.http_proxy import HttpProxy
from tests.support.injection.resp_proxy import RespProxy
from tests.support.stack import Stack
from tests.support.waiting import wait_for

ROLES = ("producer", "preprocess", "inference", "collector")


@dataclass(frozen=True, slots=True)
class Routed:
    """The stack, and what lies between its roles and its servers. Its commands go straight."""

    stack: Stack
    broker: RespProxy
    store: HttpProxy

    def quiet(self) -> None:
        """No more faults."""
        self.broker.rates = self.store.rates = {}


@contextmanager
def routed(stack: Stack, draw: random.Random) -> Iterator[Routed]:
    """Send the roles of a stack that is up by way of proxies, until the stack is stopped."""
    broker_port = urlsplit(stack.info["broker_url"]).port
    store_port = urlsplit(f"//{stack.info['s3']['endpoint']}").port
    assert broker_port is not None
    assert store_port is not None
    with ExitStack() as proxies:
        broker = proxies.enter_context(RespProxy(broker_port, draw))
        store = proxies.enter_context(HttpProxy(store_port, draw))
        before = {pid for role in ROLES for pid in stack.pids(role)}
        for role in ROLES:
            _point(stack.home / role_settings_file(role), broker.port, store.port)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        ledger = connect_ledger(load_settings(stack.home))
        wait_for(
            lambda: len({worker.pid for worker in ledger.workers()} - before) == len(before),
            what="the roles by way of the proxies",
            deadline_seconds=60,
        )
        yield Routed(stack, broker, store)


def _point(file: Path, broker_port: int, store_port: int) -> None:
    values = json.loads(file.read_text())
    for name in ("broker_url", "ledger_url", "staging_url"):
        url = urlsplit(values[name])
        account, _, _ = url.netloc.rpartition("@")
        netloc = f"{account}@{url.hostname}:{broker_port}"
        values[name] = url._replace(netloc=netloc).geturl()
    values["s3"]["endpoint"] = f"{urlsplit('//' + values['s3']['endpoint']).hostname}:{store_port}"
    file.write_text(json.dumps(values))
