"""What each role may and may not do, tried with the role's own secrets on a real stack."""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from botocore.exceptions import ClientError
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.settings import SETTINGS_FILE, Settings, load_settings
from tests.support.rights import (
    BROKER_ROLES,
    FOREIGN,
    MAY_AT_STORE,
    NEVER,
    OBJECTS,
    STORE_ROLES,
    WORKERS,
)
from tests.support.rights_tried import allowed, client_of, is_done, tried
from tests.support.shape_class import PIPELINE
from tests.support.stack import Stack, small_images
from tests.support.waiting import wait_for

AT_ONCE = Retry(NoBackoff(), 0)


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


def store_of(stack: Stack, role: str) -> Any:
    return client_of(settings_of(stack, role).s3)


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


@pytest.mark.parametrize("role", STORE_ROLES)
def test_a_role_does_with_the_store_what_it_must_and_nothing_else(
    stack: Stack, role: str, objects: None
) -> None:
    store, may = store_of(stack, role), MAY_AT_STORE[role]
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
