"""The roles: the kinds of process that a stack runs, one row each.

Programs, scale, the order in which they stop, broker users, store policies and settings files
follow from these rows, and ``docker-compose.yml`` is tested against them. Rights that a row does
not state are refused. ``python -m producer.stack.roles --json`` prints the table.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from shared.environment import settle

if __name__ == "__main__":
    settle()

from producer.stack.object_rights import ObjectRight, allow, allow_all_but, deny
from shared.stages import INFERENCE, PREPROCESS, PRODUCER_ROLE, RESULTS, STAGES, Stage

# The ledger's keys that a worker's scripts touch when it takes a chunk or hands it on.
CHUNK_KEYS = (
    "%R~hr:incarnation %R~hr:layout %R~hr:job:* ~hr:stale ~hr:workers ~hr:lease:* ~hr:held:*"
    " ~hr:queued:* ~hr:waiting ~hr:refused ~hr:*:live ~hr:*:trial:*"
)
# Pixels for devices of other hosts: making room for them and sending them, and reading them.
WRITE_PARCELS = "(+hgetall +hset +hdel +del +rpush +rpushx +pexpire ~stage:*)"
READ_PARCELS = "(+lrange +del +hdel ~stage:*)"
# What a collector writes in an output folder, in any bucket.
OUTPUTS = ("*/*/rows/part-*.parquet", "*/*/manifest.json", "*/*/_SUCCESS")
JOB = "{state}/jobs/*"


# For finishing what a worker has in hand.
WORKER_STOP_SECONDS = 120


def one(_cores: int) -> int:
    """One process on any machine."""
    return 1


def half_the_cores(cores: int) -> int:
    """A process for every second core: the device's own process needs the rest."""
    return max(1, cores // 2)


@dataclass(frozen=True, slots=True)
class Role:
    """One kind of process.

    ``name``: also the name of its broker user and of its store identity.
    ``module``: what ``python -m`` runs.
    ``sends_to``: the stages whose messages it may send.
    ``discards_from``: the stages whose queues it may empty, because their host is gone.
    ``counts_messages``: whether it may ask how many messages wait in any queue.
    ``ledger_keys``: key patterns of the ledger that it may read and write.
    ``broker_rules``: further selectors of its ACL at Redis or Valkey.
    ``object_rights``: at the store, beside its own folder of the quarantine.
    ``processes``: how many there are by default, from the number of cores.
    ``arguments``: what its module is given on this machine. ``{host}`` and ``{port}`` stand for the
    address where an observer is to listen.
    ``stop_seconds``: how long it may take to end when it is told to.
    ``uses_ring``: whether it maps the staging ring of its host.
    ``uses_other_stores``: whether it is given the user's credentials for other stores.
    ``has_gpu_service``: whether containers on a GPU have a service ``NAME-gpu`` of their own.
    ``is_observer``: it only looks at the broker, and shows what it sees over HTTP on a port of its
    own. It does not scale, and has no lease, no store identity, and not the key that messages are
    signed with; so it has no stages, sends nothing, and has no rights to objects.
    """

    name: str
    module: str
    sends_to: tuple[Stage, ...] = ()
    discards_from: tuple[Stage, ...] = ()
    counts_messages: bool = False
    ledger_keys: str = ""
    broker_rules: tuple[str, ...] = ()
    object_rights: tuple[ObjectRight, ...] = ()
    processes: Callable[[int], int] = one
    arguments: tuple[str, ...] = ()
    stop_seconds: int = WORKER_STOP_SECONDS
    uses_ring: bool = False
    uses_other_stores: bool = False
    has_gpu_service: bool = False
    is_observer: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError for an observer that could do more than look."""
        acts = (self.stages, self.sends_to, self.discards_from, self.object_rights)
        if self.is_observer and any(acts):
            raise ValueError(
                f"role {self.name} is an observer: it may have no stages, send or discard no "
                "messages, and have no rights to objects"
            )

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages whose messages it takes."""
        return tuple(stage for stage in STAGES.values() if stage.role == self.name)

    @property
    def stop_group(self) -> int:
        """The place in the flow of its last stage; roles that take no messages stop first."""
        flow = [stage.role for stage in STAGES.values()]
        return max((n for n, role in enumerate(flow) if role == self.name), default=0)


PRODUCER = Role(
    PRODUCER_ROLE,
    module="producer.lead.process",
    sends_to=(PREPROCESS, RESULTS),  # results of the chunks that it gives up
    discards_from=(INFERENCE,),
    counts_messages=True,
    ledger_keys="~hr:*",
    broker_rules=(
        "(+lpop ~hr:*)",
        "(+scan)",  # names only, but of all keys
    ),
    object_rights=(
        allow("ListBucket", "*"),
        deny("ListBucket", "{models}"),
        deny("ListBucket", "{state}", all_but_prefix="jobs/*"),
        allow("GetObject", JOB, "*/rows/part-*.parquet"),
        allow("PutObject", f"{JOB}/manifest/*", f"{JOB}/stop-*.json", f"{JOB}/closed.json"),
    ),
    uses_other_stores=True,
)

# Whom Flower lets in, relative to the home.
FLOWER_CONFIG = "run/flower.conf"
FLOWER = Role(
    "flower",
    module="producer.stack.dashboard",
    counts_messages=True,
    arguments=(FLOWER_CONFIG, "--address={host}", "--port={port}"),
    stop_seconds=10,
    is_observer=True,
)

# By name, in the order of the flow.
ROLES: dict[str, Role] = {
    role.name: role
    for role in (
        PRODUCER,
        Role(
            PREPROCESS.role,
            module="workers.preprocess",
            sends_to=(INFERENCE, RESULTS),  # by the pipeline's route
            ledger_keys=CHUNK_KEYS,
            broker_rules=(WRITE_PARCELS,),
            object_rights=(allow_all_but("GetObject", "{state}/*", "{models}/*"),),
            processes=half_the_cores,
            uses_ring=True,
            uses_other_stores=True,
        ),
        Role(
            INFERENCE.role,
            module="workers.inference",
            sends_to=(RESULTS,),
            ledger_keys=CHUNK_KEYS,
            broker_rules=(
                READ_PARCELS,
                "(+rpush %W~hr:hints)",  # that it has stopped a job
            ),
            object_rights=(
                allow("GetObject", "{models}/*", f"{JOB}/engine-*.json"),
                allow("PutObject", f"{JOB}/engine-*.json", f"{JOB}/stop-*.json"),
            ),
            uses_ring=True,
            has_gpu_service=True,
        ),
        Role(
            RESULTS.role,
            module="workers.collector",
            ledger_keys=f"{CHUNK_KEYS} ~hr:jobs ~hr:job:* ~hr:*:done",
            object_rights=(
                allow("ListBucket", "{state}", prefix="jobs/*"),
                allow("GetObject", JOB, *OUTPUTS),
                allow("PutObject", f"{JOB}/chunks/*", f"{JOB}/closed.json", *OUTPUTS),
                allow("DeleteObject", f"{JOB}/chunks/*"),
                deny("PutObject", "{models}/*"),
            ),
        ),
        FLOWER,
    )
}


def working_roles() -> list[Role]:
    """All that hold a lease and scale: every role but the observers."""
    return [role for role in ROLES.values() if not role.is_observer]


def observers() -> list[Role]:
    """All that only look: one process each, with a port."""
    return [role for role in ROLES.values() if role.is_observer]


def is_observer(name: str) -> bool:
    """Whether this is the name of a role that only looks."""
    return name in ROLES and ROLES[name].is_observer


def default_scale() -> dict[str, int]:
    """How many processes each role starts with on this machine."""
    cores = os.cpu_count() or 1
    return {role.name: role.processes(cores) for role in working_roles()}


def stop_order() -> list[tuple[str, ...]]:
    """The names of the roles that stop together, one group after the other.

    So each finds what it needs to finish what it has in hand.
    """
    ordered = sorted(ROLES.values(), key=lambda role: role.stop_group)
    groups = groupby(ordered, key=lambda role: role.stop_group)
    return [tuple(role.name for role in group) for _, group in groups]


def _row(role: Role) -> dict[str, Any]:
    """A role as JSON: stages by their names, and the number of processes on this machine."""
    named = ("stages", "sends_to", "discards_from")
    return {
        **asdict(role),
        **{field: [stage.name for stage in getattr(role, field)] for field in named},
        "processes": role.processes(os.cpu_count() or 1),
        "stop_group": role.stop_group,
    }


if __name__ == "__main__":
    if sys.argv[1:] != ["--json"]:
        sys.exit("usage: python -m producer.stack.roles --json")
    print(json.dumps([_row(role) for role in ROLES.values()], indent=2))  # noqa: T201
