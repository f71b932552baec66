"""What each role may and may not do, tried with the role's own secrets on a real stack."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
import redis
from botocore.config import Config
from botocore.exceptions import ClientError
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.settings import SETTINGS_FILE, S3Settings, Settings, load_settings
from tests.support.stack import Stack, small_images
from tests.support.waiting import wait_for

WORKERS = ("preprocess", "inference", "collector")
STORE_ROLES = ("producer", *WORKERS)
BROKER_ROLES = (*STORE_ROLES, "flower")
AT_ONCE = Retry(NoBackoff(), 0)
PIPELINE = (
    "name: shape\n"
    "preprocess: {resize_shorter_pixels: 48, crop_pixels: 32}\n"
    "model: {python: 'shape:Shape'}\n"
)
NEVER = (
    *("KEYS *", "RESTORE hr:jobs 0 x", "CONFIG GET *", "CONFIG SET save x", "LASTSAVE"),
    *("MODULE LIST", "FUNCTION LIST", "FCALL f 0", "EVAL x 0", "SCRIPT FLUSH", "FLUSHALL"),
    *("FLUSHDB", "SHUTDOWN NOSAVE", "ACL LIST", "ACL SETUSER x", "MONITOR", "CLIENT LIST"),
    *("CLIENT KILL TYPE normal", "SAVE", "BGREWRITEAOF", "REPLICAOF NO ONE", "SWAPDB 0 1"),
    *("RENAME hr:jobs x", "COPY hr:jobs x", "DUMP hr:jobs", "SORT hr:jobs", "SLOWLOG GET"),
    *("MIGRATE h 1 k 0 1", "OBJECT ENCODING hr:jobs", "INFO", "RANDOMKEY", "CLUSTER INFO"),
)
INFERENCE_QUEUE = "v4.inference.bulk.{host}"


def in_both_lanes(commands: Iterable[str]) -> tuple[str, ...]:
    """These, and the same for the interactive lane where they name a queue."""
    one_lane = tuple(commands)
    return one_lane + tuple(c.replace(".bulk", ".interactive") for c in one_lane if ".bulk" in c)


# Each to somebody else's, or more than its own work needs.
_FOREIGN = {
    "producer": (
        *("BRPOP v4.preprocess.bulk 1", "BRPOP v4.results.bulk 1", "HGETALL dead:letters"),
        *("DEL v4.preprocess.bulk", f"LPUSH {INFERENCE_QUEUE} x"),
        *("PUBLISH /0.celery.pidbox x", "PSUBSCRIBE /0.celeryev/*", "SET other 1", "GET other"),
        *("LRANGE stage:pixels:x 0 1", "HGETALL stage:parcels", "RPUSH stage:pixels:x y"),
    ),
    "preprocess": (
        *(f"BRPOP {INFERENCE_QUEUE} 1", f"DEL {INFERENCE_QUEUE}", "LPUSH v4.results.bulk x"),
        "LRANGE v4.results.bulk 0 -1",
        *("GET hr:leader", "DEL hr:leader", "SET hr:incarnation x", "DEL hr:jobs", "SCAN 0"),
        "SET hr:layout x",
        *("HSET hr:job:u cancelled 1", "SETBIT hr:u:done 0 1", "RPUSH hr:hints x", "GET other"),
        *("HGETALL dead:letters", "DEL dead:letters", "HSET dead:replays x 1"),
        "LRANGE stage:pixels:x 0 1",
        *("PUBLISH /0.celery.pidbox x", "PSUBSCRIBE /0.celeryev/*", "PUBLISH other x"),
    ),
    "inference": (
        *("BRPOP v4.preprocess.bulk 1", "BRPOP v4.results.bulk 1", f"DEL {INFERENCE_QUEUE}x"),
        *("LRANGE v4.preprocess.bulk 0 -1", "GET hr:leader"),
        *(
            "SET hr:incarnation x",
            "SET hr:layout x",
            "SETBIT hr:u:done 0 1",
            "HSET hr:job:u cancelled 1",
            "SCAN 0",
        ),
        *("HGETALL dead:letters", "DEL dead:order", "PUBLISH /0.celery.pidbox x", "SET other 1"),
        *("RPUSH stage:pixels:x y", "HSET stage:parcels x 1"),
        *("LPOP hr:hints", "LRANGE hr:hints 0 -1", "DEL hr:hints"),
    ),
    "collector": (
        *("BRPOP v4.preprocess.bulk 1", f"LPUSH {INFERENCE_QUEUE} x", "DEL v4.preprocess.bulk"),
        *("SET hr:incarnation x", "SET hr:layout x", "DEL hr:leader", "RPUSH hr:hints x"),
        *("HGETALL dead:letters", "DEL dead:order", "PUBLISH /0.celery.pidbox x", "SCAN 0"),
        *("LRANGE stage:pixels:x 0 1", "HSET stage:parcels x 1", "DEL stage:parcels"),
    ),
    "flower": (
        *("LPUSH v4.preprocess.bulk x", "BRPOP v4.preprocess.bulk 1", "DEL v4.results.bulk"),
        *(
            "LRANGE v4.results.bulk 0 -1",
            "GET hr:incarnation",
            "GET hr:layout",
            "SMEMBERS hr:jobs",
            "SCAN 0",
        ),
        *("HGETALL dead:letters", "PUBLISH /0.celeryev/task.x x"),
    ),
}
FOREIGN = {role: in_both_lanes(commands) for role, commands in _FOREIGN.items()}
SPEC, SEGMENT = "jobs/j/spec.json", "jobs/j/manifest/00000000.parquet"
CHUNK, CLOSED = "jobs/j/chunks/000000000.parquet", "jobs/j/closed.json"
ENGINE, STOP = "jobs/j/engine-0.json", "jobs/j/stop-0.json"
PART = "j/rows/part-00000.parquet"
CODE, FILE = f"_code/{'a' * 64}.zip", f"_files/{'a' * 64}"
OBJECTS = (
    *(("models", CODE), ("models", FILE)),
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
MAY: dict[str, dict[str, set[tuple[str, str]]]] = {
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
        "get": {*(("models", key) for key in ("m/weights", CODE, FILE)), ("state", ENGINE)},
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


def settings_of(stack: Stack, role: str) -> Settings:
    return load_settings(stack.home, f"run/roles/{role}.json")


def broker(stack: Stack, role: str) -> Any:
    return redis.Redis.from_url(settings_of(stack, role).broker_url, decode_responses=True)


@pytest.fixture
def admin(stack: Stack) -> Any:
    settings = load_settings(stack.home, SETTINGS_FILE)
    with redis.Redis.from_url(settings.broker_url, decode_responses=True) as client:
        client.acl_log_reset()
        yield client


def allowed(client: Any, commands: Iterable[str]) -> list[str]:
    """Those that the broker does not refuse for want of permission."""
    passed = []
    for command in commands:
        try:
            client.execute_command(*command.split())
        except redis.exceptions.NoPermissionError:
            continue
        passed.append(command)
    return passed


def store_of(stack: Stack, role: str) -> Any:
    return client_of(settings_of(stack, role).s3)


def client_of(s3: S3Settings) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=f"http://{s3.endpoint}",
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
        region_name=s3.region,
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
    )


def is_done(action: Any, **arguments: Any) -> bool:
    """Did the store do it? Refusals are the only other answer that passes."""
    try:
        action(**arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("AccessDenied", "403"):
            raise
        return False
    return True


@pytest.fixture(scope="module")
def objects(stack: Stack) -> Any:
    for bucket, key in OBJECTS:
        stack.put(bucket, {key: b"as it was"})
    yield
    for bucket, key in OBJECTS:
        stack.s3.delete_object(Bucket=bucket, Key=key)


def test_a_job_malformed_messages_and_a_restart_need_no_more_than_the_roles_have(
    stack: Stack, admin: Any, tmp_path: Path
) -> None:
    pipeline = tmp_path / "shape.yaml"
    pipeline.write_text(PIPELINE)
    stack.put("privileges", {**small_images(40), "bad.jpg": b"no image"})
    before = len(stack.json("dead-letters", "list"))
    queues = stack.info["queues"]
    for queue in queues:
        admin.lpush(queue["name"], "no message")
    job = stack.enqueue("s3://privileges/", "--chunk-items", "8", pipeline=str(pipeline))
    assert stack.finish(job)["images"]["succeeded"] == 40
    retried = stack.json("retry", job, "--failed")["job_id"]
    assert stack.finish(retried)["images"]["failed"] == 1
    for role in STORE_ROLES:
        stack.run("restart", role)
    assert {n.split("-")[0] for n in stack.flower("/api/workers?refresh=1")} == set(WORKERS)
    expected = before + len(queues)
    wait_for(lambda: len(stack.json("dead-letters", "list")) == expected, what="the dead letters")
    assert admin.acl_log() == []


@pytest.mark.parametrize("role", BROKER_ROLES)
def test_no_role_has_the_commands_of_an_administrator(stack: Stack, role: str) -> None:
    with broker(stack, role) as client:
        assert allowed(client, NEVER) == []
        # The server itself refuses this one before it looks at who asks.
        with pytest.raises(redis.ResponseError, match="DEBUG command not allowed"):
            client.execute_command("DEBUG", "SLEEP", "0")


@pytest.mark.parametrize("role", BROKER_ROLES)
def test_a_role_has_its_own_keys_and_channels_only(stack: Stack, role: str) -> None:
    host = load_settings(stack.home, SETTINGS_FILE).host_id
    with broker(stack, role) as client:
        assert allowed(client, (c.format(host=host) for c in FOREIGN[role])) == []


@pytest.mark.parametrize("role", WORKERS)
def test_a_script_reaches_no_further_than_its_caller(stack: Stack, role: str) -> None:
    with broker(stack, role) as client:
        for call in ("'get', 'hr:leader'", "'flushall'", "'del', 'dead:order'"):
            digest = client.script_load(f"return redis.call({call})")
            with pytest.raises(redis.ResponseError, match=r"can't (run|access)|[Pp]ermission"):
                client.evalsha(digest, 0)


def test_strangers_and_the_default_user_are_refused(stack: Stack, admin: Any) -> None:
    settings = settings_of(stack, "preprocess")
    port = admin.connection_pool.connection_kwargs["port"]
    for password in (None, "", "x"):
        with (
            redis.Redis(port=port, password=password, retry=AT_ONCE) as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()
    guessed = settings.broker_url.replace("redis://preprocess:", "redis://admin:")
    with (
        redis.Redis.from_url(guessed, retry=AT_ONCE) as climber,
        pytest.raises(redis.AuthenticationError),
    ):
        climber.ping()


def tried(
    store: Any, put: Callable[[str, dict[str, bytes]], object]
) -> dict[str, set[tuple[str, str]]]:
    """Everything that a role's client may do, of all that there is to do; ``put`` restores."""
    done: dict[str, set[tuple[str, str]]] = {verb: set() for verb in VERBS}
    for bucket, prefix in LISTINGS:
        if is_done(store.list_objects_v2, Bucket=bucket, Prefix=prefix):
            done["list"].add((bucket, prefix))
    for bucket, key in OBJECTS:
        where = {"Bucket": bucket, "Key": key}
        if is_done(store.get_object, **where):
            done["get"].add((bucket, key))
        if is_done(store.put_object, **where, Body=b"as it was"):
            done["put"].add((bucket, key))
        if is_done(store.delete_object, **where):
            done["delete"].add((bucket, key))
            put(bucket, {key: b"as it was"})
    return done


@pytest.mark.parametrize("role", STORE_ROLES)
def test_a_role_does_with_the_store_what_it_must_and_nothing_else(
    stack: Stack, role: str, objects: None
) -> None:
    store, may = store_of(stack, role), MAY[role]
    assert tried(store, stack.put) == may


@pytest.mark.parametrize("role", STORE_ROLES)
def test_no_role_goes_round_by_another_request(stack: Stack, role: str, objects: None) -> None:
    store, where = store_of(stack, role), {"Bucket": "secret-inputs", "Key": "a.jpg"}
    answer = store.delete_objects(Bucket="secret-inputs", Delete={"Objects": [{"Key": "a.jpg"}]})
    assert [error["Code"] for error in answer["Errors"]] == ["AccessDenied"]
    assert not is_done(store.copy_object, **where, CopySource="models/m/weights")
    assert not is_done(store.create_multipart_upload, **where)
    assert not is_done(store.put_object_tagging, **where, Tagging={"TagSet": []})
    assert not is_done(store.create_bucket, Bucket="one-of-mine")
    assert not is_done(store.delete_bucket, Bucket="secret-inputs")
    anybody = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": "arn:aws:s3:::secret-inputs/*",
            }
        ],
    }
    assert not is_done(store.put_bucket_policy, Bucket="secret-inputs", Policy=json.dumps(anybody))
    assert stack.s3.get_object(**where)["Body"].read() == b"as it was"


def test_the_keys_of_flower_open_no_store(stack: Stack, objects: None) -> None:
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        store_of(stack, "flower").list_buckets()


def secrets_of(stack: Stack) -> dict[str, str]:
    return dict(json.loads((stack.home / "stack.json").read_text())["secrets"])


def test_each_role_is_given_its_own_secrets_and_no_others(stack: Stack) -> None:
    secrets = secrets_of(stack)
    assert len(set(secrets.values())) == len(secrets)
    assert min(map(len, secrets.values())) >= 32
    for role in BROKER_ROLES:
        path = stack.home / "run" / "roles" / f"{role}.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        found = {name for name, secret in secrets.items() if secret in path.read_text()}
        signing = "signing_flower" if role == "flower" else "signing"
        assert found == {f"broker_{role}", f"s3_access_{role}", f"s3_secret_{role}", signing}
        for pid in stack.pids(role):
            environment = psutil.Process(pid).environ()
            assert environment["HEADRACE_SETTINGS_FILE"] == f"run/roles/{role}.json"
            assert not set(secrets.values()) & set(environment.values())


def test_no_secret_is_in_a_log_an_argument_list_or_an_open_file(stack: Stack) -> None:
    # An access key is a name, not a secret: the store logs those that it does not know.
    secrets = {n: value for n, value in secrets_of(stack).items() if "s3_access" not in n}
    texts = {
        path.name: path.read_text(errors="replace") for path in (stack.home / "logs").iterdir()
    }
    assert texts
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess):  # others come and go
            if process.uids().real == os.getuid():
                texts[f"{process.pid} {process.name()}"] = " ".join(process.cmdline())
    told = {
        (where, name)
        for where, text in texts.items()
        for name, secret in secrets.items()
        if secret in text
    }
    assert told == set()
    files = [path for path in (stack.home / "run").rglob("*") if path.is_file()]
    telling = [p for p in files if any(secret in p.read_text() for secret in secrets.values())]
    assert {path.name for path in telling} >= {"s3.json", "supervisord.conf", "producer.json"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in telling} == {0o600}
    assert "valkey-users.acl" not in {path.name for path in telling}  # it holds digests
