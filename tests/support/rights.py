"""The rights of the roles, written down once more: what each may do, and what it may not.

Tests try each with the role's own secrets, at the broker, the store and RabbitMQ.
"""

from __future__ import annotations

from collections.abc import Iterable

from shared.stages import INFERENCE, LANES, PREPROCESS, RESULTS, queue_name

WORKERS = ("preprocess", "inference", "collector")
STORE_ROLES = ("producer", *WORKERS)
BROKER_ROLES = (*STORE_ROLES, "flower")
NEVER = (
    *("KEYS *", "RESTORE hr:jobs 0 x", "CONFIG GET *", "CONFIG SET save x", "LASTSAVE"),
    *("MODULE LIST", "FUNCTION LIST", "FCALL f 0", "EVAL x 0", "SCRIPT FLUSH", "FLUSHALL"),
    *("FLUSHDB", "SHUTDOWN NOSAVE", "ACL LIST", "ACL SETUSER x", "MONITOR", "CLIENT LIST"),
    *("CLIENT KILL TYPE normal", "SAVE", "BGREWRITEAOF", "REPLICAOF NO ONE", "SWAPDB 0 1"),
    *("RENAME hr:jobs x", "COPY hr:jobs x", "DUMP hr:jobs", "SORT hr:jobs", "SLOWLOG GET"),
    *("MIGRATE h 1 k 0 1", "OBJECT ENCODING hr:jobs", "INFO", "RANDOMKEY", "CLUSTER INFO"),
)
INFERENCE_QUEUE = "v6.inference.bulk.{host}"


def in_both_lanes(commands: Iterable[str]) -> tuple[str, ...]:
    """These, and the same for the interactive lane where they name a queue."""
    one_lane = tuple(commands)
    return one_lane + tuple(c.replace(".bulk", ".interactive") for c in one_lane if ".bulk" in c)


# Each to somebody else's, or more than its own work needs.
_FOREIGN = {
    "producer": (
        *("BRPOP v6.preprocess.bulk 1", "BRPOP v6.results.bulk 1", "HGETALL dead:letters"),
        *("DEL v6.preprocess.bulk", f"LPUSH {INFERENCE_QUEUE} x"),
        *("PUBLISH /0.celery.pidbox x", "PSUBSCRIBE /0.celeryev/*", "SET other 1", "GET other"),
        *("LRANGE stage:pixels:x 0 1", "HGETALL stage:parcels", "RPUSH stage:pixels:x y"),
    ),
    "preprocess": (
        *(f"BRPOP {INFERENCE_QUEUE} 1", f"DEL {INFERENCE_QUEUE}", "BRPOP v6.results.bulk 1"),
        *("LRANGE v6.results.bulk 0 -1", "DEL v6.results.bulk"),
        "SET hr:layout x",
        *("GET hr:leader", "DEL hr:leader", "SET hr:incarnation x", "DEL hr:jobs", "SCAN 0"),
        *("HSET hr:job:u cancelled 1", "SETBIT hr:u:done 0 1", "RPUSH hr:hints x", "GET other"),
        *("HGETALL dead:letters", "DEL dead:letters", "HSET dead:replays x 1"),
        "LRANGE stage:pixels:x 0 1",
        *("PUBLISH /0.celery.pidbox x", "PSUBSCRIBE /0.celeryev/*", "PUBLISH other x"),
    ),
    "inference": (
        *("BRPOP v6.preprocess.bulk 1", "BRPOP v6.results.bulk 1", f"DEL {INFERENCE_QUEUE}x"),
        *("LRANGE v6.preprocess.bulk 0 -1", "LPUSH v6.preprocess.bulk x", "GET hr:leader"),
        *("SET hr:incarnation x", "SETBIT hr:u:done 0 1", "HSET hr:job:u cancelled 1", "SCAN 0"),
        "SET hr:layout x",
        *("HGETALL dead:letters", "DEL dead:order", "PUBLISH /0.celery.pidbox x", "SET other 1"),
        *("RPUSH stage:pixels:x y", "HSET stage:parcels x 1"),
        *("LPOP hr:hints", "LRANGE hr:hints 0 -1", "DEL hr:hints"),
    ),
    "collector": (
        *("BRPOP v6.preprocess.bulk 1", f"LPUSH {INFERENCE_QUEUE} x", "DEL v6.preprocess.bulk"),
        *("SET hr:incarnation x", "SET hr:layout x", "DEL hr:leader", "RPUSH hr:hints x"),
        "LPUSH v6.preprocess.bulk x",
        *("HGETALL dead:letters", "DEL dead:order", "PUBLISH /0.celery.pidbox x", "SCAN 0"),
        *("LRANGE stage:pixels:x 0 1", "HSET stage:parcels x 1", "DEL stage:parcels"),
    ),
    "flower": (
        *("LPUSH v6.preprocess.bulk x", "BRPOP v6.preprocess.bulk 1", "DEL v6.results.bulk"),
        *("LRANGE v6.results.bulk 0 -1", "GET hr:incarnation", "SMEMBERS hr:jobs", "SCAN 0"),
        "GET hr:layout",
        *("HGETALL dead:letters", "PUBLISH /0.celeryev/task.x x"),
    ),
}
FOREIGN = {role: in_both_lanes(commands) for role, commands in _FOREIGN.items()}
SPEC, SEGMENT = "jobs/j/spec.json", "jobs/j/manifest/00000000.parquet"
CHUNK, CLOSED = "jobs/j/chunks/000000000.parquet", "jobs/j/closed.json"
ENGINE, STOP = "jobs/j/engine-0.json", "jobs/j/stop-0.json"
PART = "j/rows/part-00000.parquet"
CODE, FILE = f"_code/{'a' * 64}.zip", f"_files/{'a' * 64}"
RELEASE, MARK = "m/releases/00000001.json", f"_removing/m/{'a' * 64}/t"
OBJECTS = (
    *(("models", key) for key in (CODE, FILE, RELEASE, MARK)),
    *(("secret-inputs", "a.jpg"), ("models", "m/weights"), ("results", PART), ("state", CLOSED)),
    *(("state", SPEC), ("state", SEGMENT), ("state", CHUNK), ("state", ENGINE)),
    ("state", STOP),
    *(("state", f"quarantine/{role}/0") for role in STORE_ROLES),
)
LISTINGS = (
    *(("secret-inputs", ""), ("models", ""), ("results", ""), ("state", "")),
    *(("state", "jobs/j/"), ("state", "quarantine/")),
)
# Everything that a role may do with these; the tests try all else and want it refused.
VERBS = ("list", "get", "put", "delete")
MAY_AT_STORE: dict[str, dict[str, set[tuple[str, str]]]] = {
    "producer": {
        "list": {("secret-inputs", ""), ("results", ""), ("state", "jobs/j/")},
        "get": {
            *(("state", key) for key in (SPEC, SEGMENT, CHUNK, CLOSED, ENGINE, STOP)),
            ("results", PART),
        },
        "put": {
            *(("state", key) for key in (SEGMENT, STOP, CLOSED)),
            ("state", "quarantine/producer/0"),
        },
        "delete": set(),
    },
    "preprocess": {
        "list": set(),
        "get": {("secret-inputs", "a.jpg"), ("results", PART)},  # any bucket may hold inputs
        "put": {("state", "quarantine/preprocess/0")},
        "delete": set(),
    },
    "inference": {
        "list": set(),
        "get": {
            *(("models", key) for key in ("m/weights", CODE, FILE, RELEASE, MARK)),
            ("state", ENGINE),
        },
        "put": {("state", "quarantine/inference/0"), ("state", ENGINE), ("state", STOP)},
        "delete": set(),
    },
    "collector": {
        "list": {("state", "jobs/j/")},
        "get": {
            *(("state", key) for key in (SPEC, SEGMENT, CHUNK, CLOSED, ENGINE, STOP)),
            ("results", PART),
        },
        "put": {
            *(("state", CHUNK), ("state", CLOSED), ("results", PART)),
            ("state", "quarantine/collector/0"),
        },
        "delete": {("state", CHUNK)},
    },
}

# What a role's work needs: one command waits for both lanes.
_COUNTS = ("LLEN v6.preprocess.bulk", f"LLEN {INFERENCE_QUEUE}", "LLEN v6.results.bulk")
OWN = {
    "producer": in_both_lanes(
        (
            *_COUNTS,
            "LPUSH v6.preprocess.bulk x",
            "LPUSH v6.results.bulk x",
            f"DEL {INFERENCE_QUEUE}",
        )
    ),
    "preprocess": (
        "BRPOP v6.preprocess.interactive v6.preprocess.bulk 0.01",
        *in_both_lanes(("RPUSH v6.preprocess.bulk x", f"LPUSH {INFERENCE_QUEUE} x")),
        *in_both_lanes(("LPUSH v6.results.bulk x",)),
    ),
    "inference": (
        f"BRPOP {INFERENCE_QUEUE.replace('bulk', 'interactive')} {INFERENCE_QUEUE} 0.01",
        *in_both_lanes((f"RPUSH {INFERENCE_QUEUE} x", "LPUSH v6.results.bulk x")),
    ),
    "collector": (
        "BRPOP v6.results.interactive v6.results.bulk 0.01",
        *in_both_lanes(("RPUSH v6.results.bulk x",)),
    ),
    "flower": in_both_lanes(_COUNTS),
}

# At RabbitMQ: its queues and exchanges, and what may be done with them.
FIRST, ELSEWHERE, LAST = (
    [queue_name(stage, lane, host) for lane in LANES]
    for stage, host in ((PREPROCESS, ""), (INFERENCE, "host-9"), (RESULTS, ""))
)
MAILBOX, ANSWERS, EVENTS = "a@b.celery.pidbox", "a.reply.celery.pidbox", "celeryev.a"
QUEUES = (*FIRST, *ELSEWHERE, *LAST, MAILBOX, ANSWERS, EVENTS, "v6.somebodys")
DIRECT = ""


def each(verb: str, *queues: list[str]) -> set[tuple[str, str]]:
    """The same with each of these queues."""
    return {(verb, queue) for lanes in queues for queue in lanes}


# Who sends at all may send to any queue: what it says is signed or not.
_WORKER = {
    *(("declare", MAILBOX), ("take", MAILBOX), ("bind", MAILBOX), ("hear", "celery.pidbox")),
    *(("send", "celeryev"), ("send", "reply.celery.pidbox"), ("send", DIRECT)),
}
MAY_AT_RABBITMQ = {
    "admin": {("send", DIRECT), *each("declare", FIRST, ELSEWHERE, LAST)},
    "producer": {
        *(("send", DIRECT), *each("declare", FIRST, LAST)),
        *each("take", ELSEWHERE),  # which emptying a queue wants
    },
    "preprocess": {
        *(*_WORKER, *each("declare", FIRST, ELSEWHERE, LAST)),
        *each("take", FIRST),
    },
    "inference": {
        *(*_WORKER, *each("declare", ELSEWHERE, LAST)),
        *each("take", ELSEWHERE),
    },
    "collector": {*_WORKER, *each("declare", LAST), *each("take", LAST)},
    "flower": {
        *((verb, queue) for verb in ("declare", "take", "bind") for queue in (ANSWERS, EVENTS)),
        *(("hear", "celeryev"), ("hear", "reply.celery.pidbox"), ("send", "celery.pidbox")),
    },
}
