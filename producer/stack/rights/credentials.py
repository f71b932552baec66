"""Which secrets each role has: all of them random, made at the first start, kept in the record."""

from __future__ import annotations

from producer.stack.record import StackRecord
from producer.stack.rights.broker_users import ADMIN
from producer.stack.roles import ROLES, is_observer, working_roles

FLOWER_USER = "headrace"


def broker_passwords(record: StackRecord) -> dict[str, str]:
    """Every broker user's password, ``admin`` for the command line."""
    names = (ADMIN, *ROLES)
    return {name: record.secret(_named("broker", name)) for name in names}


def store_keys(record: StackRecord) -> dict[str, tuple[str, str]]:
    """Every store identity's access and secret key, ``admin`` for the command line."""
    return {name: store_key(record, name) for name in (ADMIN, *(r.name for r in working_roles()))}


def store_key(record: StackRecord, name: str) -> tuple[str, str]:
    """Access key and secret key of one identity; those of Flower open nothing."""
    return record.secret(_named("s3_access", name)), record.secret(_named("s3_secret", name))


def signing_key(record: StackRecord, name: str) -> str:
    """The key that messages are signed with; an observer, who sends none, has another."""
    return record.secret(f"signing_{name}" if is_observer(name) else "signing")


def broker_url(record: StackRecord, name: str, place: str, database: int) -> str:
    """The broker at ``place`` as one user; broker, ledger and staging have a database each."""
    password = record.secret(_named("broker", name))
    return f"redis://{name}:{password}@{place}/{database}"


def flower_url(record: StackRecord, place: str) -> str:
    """Flower's pages at ``place``, with who may look at them."""
    return f"http://{FLOWER_USER}:{record.secret('flower_web')}@{place}"


def flower_config(record: StackRecord) -> str:
    """Flower's own file of options, which says who may look."""
    return f"basic_auth = ['{FLOWER_USER}:{record.secret('flower_web')}']\n"


def _named(kind: str, name: str) -> str:
    return f"{kind}_{name}"
