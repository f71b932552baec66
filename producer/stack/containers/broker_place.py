"""Where the command line finds the broker, which is published nowhere.

Only the machine that runs the engine reaches it, by the container's own address. Docker may give a
container that has crashed another one.
"""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit

from producer.stack.containers.compose import Compose
from producer.stack.containers.files import BROKER_PORT, outside
from producer.stack.containers.states import service_of
from producer.stack.home import find_home
from producer.stack.record import load_record
from producer.stack.settings_file import write_own_settings
from shared.errors import HeadraceError
from shared.settings import SETTINGS_FILE, load_settings

REACH_SECONDS = 0.5


def broker_address(compose: Compose) -> str:
    """The container's address; empty while it has none. Raises HeadraceError where it is not."""
    for container in compose.containers():
        if service_of(container) == "redis":
            for network in container["NetworkSettings"]["Networks"].values():
                return str(network["IPAddress"])
    raise HeadraceError("role_failed", "There is no container of redis.")


def refresh_broker_address(home: Path) -> None:
    """Note the broker's address again where nobody listens at the one that is known.

    The ledger's is looked at: that of messages may be another server's.
    """
    place = find_home(home)
    if not (place.root / SETTINGS_FILE).exists():
        return
    known = urlsplit(load_settings(place.root, SETTINGS_FILE).ledger_url).hostname or ""
    if _listens(known):
        return
    try:
        address = broker_address(Compose(place))
    except HeadraceError:  # it is down, which the command says in its own words
        return
    if address not in ("", known):
        record = load_record(place)
        write_own_settings(place, record, outside(record, address))


def _listens(address: str) -> bool:
    try:
        socket.create_connection((address, BROKER_PORT), REACH_SECONDS).close()
    except OSError:
        return False
    return True
