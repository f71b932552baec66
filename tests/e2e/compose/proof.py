"""The system in containers, driven from the host: ``make test-compose``.

Not named as tests are, so that ``make test`` needs no Docker. Prints what it does and measures.
"""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from shared.environment import PROFILE_VARIABLE
from shared.settings import S3Settings
from tests.support.compose.elsewhere import BUCKET, elsewhere
from tests.support.compose.images import provide_images, torch_index, why_no_engine
from tests.support.rights import (
    BROKER_ROLES,
    FOREIGN,
    MAY_AT_STORE,
    NEVER,
    OBJECTS,
    STORE_ROLES,
)
from tests.support.rights_tried import allowed, client_of, is_done, tried
from tests.support.stack import Stack, small_images
from tests.support.waiting import wait_for

IMAGES, FEW_IMAGES = 6000, 100
UP_SECONDS = 1800
STOP_GRACE = "130"  # seconds, as in docker-compose.yml
ROLES = ("producer", "preprocess", "inference", "collector")

pytestmark = [pytest.mark.timeout(3600)]


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def docker(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


class Containers(Stack):
    """The stack in containers of one home."""

    def of(self, service: str) -> list[dict[str, Any]]:
        """What the engine knows of a service's containers."""
        project = self.inspect_all()
        label = "com.docker.compose.service"
        return [c for c in project if service in (c["Config"]["Labels"][label], "*")]

    @property
    def project(self) -> str:
        """What Compose calls the stack."""
        lines = (self.home / "docker/run/compose.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)["COMPOSE_PROJECT_NAME"].strip("'")

    def inspect_all(self) -> list[dict[str, Any]]:
        label = f"label=com.docker.compose.project={self.project}"
        ids = docker("ps", "-aq", "--filter", label)
        return list(json.loads(docker("inspect", *ids.split()))) if ids else []

    def crash(self, service: str) -> None:
        """End every process of one of its containers but the first, as a crash would."""
        container = self.of(service)[0]
        docker("exec", container["Id"], "sh", "-c", "kill -9 -1", check=False)
        say(f"killed {container['Name']} by SIGKILL")


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    if why := why_no_engine():
        pytest.skip(why)
    for name in provide_images():
        say(f"{name} cannot be pulled: a stand-in takes its place")
    environment = {PROFILE_VARIABLE: "docker", "HEADRACE_TORCH_INDEX": torch_index()}
    stack = Containers(tmp_path_factory.mktemp("compose"), environment)
    try:
        started = time.monotonic()
        stack.run("up", timeout=UP_SECONDS)
        say(f"up in {time.monotonic() - started:.0f} s")
        say(stack.run("ps").stdout)
        for image in sorted({(c["Config"]["Image"], c["Image"]) for c in stack.inspect_all()}):
            size_bytes = int(docker("image", "inspect", "--format", "{{.Size}}", image[1]))
            say(f"{image[0]}: {size_bytes / 1e6:.0f} MB")
        yield stack
    finally:
        stack.run("down", check=False)
        if stack.home.joinpath("docker").is_dir():
            assert stack.inspect_all() == []
            say("taken down")


def test_every_container_is_well_and_may_do_little(containers: Containers) -> None:
    found = containers.of("*")
    for container in found:
        name, config, host = container["Name"], container["Config"], container["HostConfig"]
        assert config["User"].split(":")[0] not in ("", "0", "root"), name
        assert host["ReadonlyRootfs"] is True, name
        assert host["CapDrop"] == ["ALL"], name
        assert host["Memory"] > 0, name
        assert host["PidsLimit"] > 0, name
        published = [p for ports in (host["PortBindings"] or {}).values() for p in ports]
        assert {p["HostIp"] for p in published} <= {"127.0.0.1"}, name
        assert bool(published) == ("minio" in name or "flower" in name), name
    rows = containers.json("ps")
    assert {row["role"] for row in rows} == {*ROLES, "redis", "minio", "flower"}
    assert {row["state"] for row in rows} == {"running"}
    assert {row["held"] for row in rows if row["role"] in ROLES} == {0}


def test_no_secret_is_in_an_image_or_in_what_the_engine_shows(containers: Containers) -> None:
    secrets = json.loads((containers.home / "docker/stack.json").read_text())["secrets"]
    told = json.dumps(containers.of("*"))
    told += docker("history", "--no-trunc", "headrace:base")
    told += docker("history", "--no-trunc", "headrace:cpu")
    assert [name for name, secret in secrets.items() if secret in told] == []


def test_flower_wants_a_password(containers: Containers) -> None:
    place = containers.info["flower_url"].rpartition("@")[2]
    for path in ("/", "/api/workers", "/metrics"):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"http://{place}{path}", timeout=10)
    workers = containers.flower("/api/workers?refresh=1")
    assert {name.split("-")[0] for name in workers} == set(ROLES[1:])


def test_doctor_finds_nothing_wrong(containers: Containers) -> None:
    assert containers.run("doctor", check=False).returncode == 0


@pytest.mark.parametrize("role", STORE_ROLES)
def test_a_role_does_with_minio_what_it_must_and_nothing_else(
    containers: Containers, role: str
) -> None:
    for bucket, key in OBJECTS:
        containers.put(bucket, {key: b"as it was"})
    keys = json.loads((containers.home / f"docker/run/roles/{role}.json").read_text())["s3"]
    keys["endpoint"] = containers.info["s3"]["endpoint"]
    store = client_of(S3Settings(**keys))
    done = tried(store, containers.put)
    for bucket, key in OBJECTS:
        containers.s3.delete_object(Bucket=bucket, Key=key)
    assert done == MAY_AT_STORE[role]
    assert not is_done(store.create_bucket, Bucket="one-of-mine")


@pytest.mark.parametrize("role", BROKER_ROLES)
def test_a_role_has_its_own_commands_and_keys_at_redis_only(
    containers: Containers, role: str
) -> None:
    own = json.loads((containers.home / f"docker/run/roles/{role}.json").read_text())
    place = urlsplit(containers.info["broker_url"]).netloc.rpartition("@")[2]
    url = own["broker_url"].replace("redis:6379", place)
    commands = (*NEVER, *(c.format(host=own["host_id"]) for c in FOREIGN[role]))
    with redis.Redis.from_url(url, decode_responses=True) as client:
        assert allowed(client, ["PING", *commands]) == ["PING"]


def test_a_job_outlives_scaling_and_killed_containers(
    containers: Containers, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for key, data in small_images(IMAGES).items():
        (photos / key).write_bytes(data)
    say(containers.run("upload", str(photos), "s3://photos/in").stdout.strip())
    job = containers.enqueue("s3://photos/in", "--chunk-items", "8")
    say(f"enqueued {job}: {IMAGES} images")
    wait_chunks(containers, job, 3)
    containers.run("scale", "preprocess=4")
    say("scaled preprocess to 4")
    say(containers.run("ps").stdout)
    assert len(containers.of("preprocess")) == 4
    assert containers.status(job)["state"] == "running"
    ledger = redis.Redis.from_url(containers.info["ledger_url"])
    incarnation = ledger.get("hr:incarnation")
    ledger.acl_log_reset()
    for service in ("preprocess", "inference", "collector", "redis", "producer"):
        containers.crash(service)
    status = containers.finish(job)
    say(json.dumps({name: status[name] for name in ("state", "images", "seconds", "engine")}))
    verdict = containers.auditor.audit("photos", "in/", job)
    say(str(verdict))
    assert verdict.clean, verdict
    assert verdict.objects == verdict.rows == IMAGES
    restarts = {c["Name"]: c["RestartCount"] for c in containers.of("*")}
    say(f"restarts {restarts}")
    assert ledger.get("hr:incarnation") == incarnation  # it came back with all that it knew
    assert ledger.acl_log() == []
    assert sum(restarts.values()) >= 5
    wait_for(
        lambda: {row["state"] for row in containers.json("ps")} == {"running"},
        what="all containers being well again",
        deadline_seconds=120,
        every=2,
    )


def test_containers_that_are_told_to_stop_leave_nothing_in_hand(containers: Containers) -> None:
    containers.put("stopped", small_images(IMAGES, seed=1))
    ledger = redis.Redis.from_url(containers.info["ledger_url"], decode_responses=True)
    asked_at = str(time.time())
    job = containers.enqueue("s3://stopped/", "--chunk-items", "8")
    wait_chunks(containers, job, 3)
    for role in ("preprocess", "inference", "collector"):
        ids = [container["Id"] for container in containers.of(role)]
        began = time.monotonic()
        docker("stop", "--time", STOP_GRACE, *ids)
        say(f"{len(ids)} of {role} stopped in {time.monotonic() - began:.1f} s")
        assert {c["State"]["ExitCode"] for c in containers.of(role)} == {0}
        assert ledger.keys(f"hr:held:{role}-*") == []
        docker("start", *ids)
    containers.finish(job)
    verdict = containers.auditor.audit("stopped", "", job)
    say(str(verdict))
    assert verdict.clean, verdict
    (producer,) = containers.of("producer")
    assert [x for x in logged(producer, asked_at) if "whose holders are gone" in x] == []


def test_inputs_may_lie_in_another_store_that_the_shell_has_a_session_of(
    containers: Containers, tmp_path: Path
) -> None:
    network = f"{containers.project}_store"
    with elsewhere(tmp_path, network, small_images(FEW_IMAGES, seed=2)) as store:
        logged_in = Containers(containers.home, {**containers.environment, **store.environment})
        logged_in.run("up", timeout=UP_SECONDS)
        job = logged_in.enqueue(f"s3://{BUCKET}/", "--chunk-items", "8")
        images = logged_in.finish(job)["images"]
        assert (images["listed"], images["succeeded"]) == (FEW_IMAGES, FEW_IMAGES)
        assert BUCKET not in [b["Name"] for b in logged_in.s3.list_buckets()["Buckets"]]
        say(f"{FEW_IMAGES} images of another store, by a session: {images}")


def wait_chunks(containers: Containers, job: str, count: int) -> None:
    prefix = f"jobs/{job}/chunks/"
    wait_for(
        lambda: containers.s3.list_objects_v2(Bucket="state", Prefix=prefix)["KeyCount"] >= count,
        what=f"{count} chunks",
        deadline_seconds=240,
        every=0.2,
    )


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"HEADRACE_REDIS_IMAGE": "redis:there-is-none"}, "name and tag of the image"),
        ({"COMPOSE_PROFILES": "gpu"}, "container toolkit"),
        ({"HEADRACE_STAGING_MIB": "64"}, "No space for a staging ring"),
    ],
    ids=["an image that cannot be pulled", "no GPU", "little shared memory"],
)
def test_what_is_wrong_is_said_in_one_line_and_does_not_flap(
    containers: Containers, environment: dict[str, str], message: str
) -> None:
    if "COMPOSE_PROFILES" in environment and Path("/dev/nvidia0").exists():
        pytest.skip("there is a GPU")
    containers.run("down")
    wrong = Containers(containers.home, {**containers.environment, **environment})
    done = wrong.run("up", check=False, timeout=UP_SECONDS)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("headrace: error")]
    say(line)
    assert done.returncode == 1
    assert message in line
    wait_for(
        lambda: {health(c) for c in wrong.inspect_all() if goes_on(c)} <= {"healthy"},
        what="whatever goes on being well",
        deadline_seconds=180,
        every=2,
    )


def test_a_missing_secret_is_named(containers: Containers) -> None:
    containers.run("up", timeout=UP_SECONDS)
    home = containers.home / "docker"
    secret = home / "run/roles/collector.json"
    kept = secret.rename(secret.with_suffix(".kept"))
    command = ["docker", "compose", "--env-file", str(home / "run/compose.env"), "up", "--detach"]
    command += ["--no-deps", "--force-recreate", "collector"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    kept.rename(secret)
    assert done.returncode
    assert str(secret) in done.stderr.splitlines()[-1]


WRONG = {
    "collector": "it refuses this user with this password",
    "preprocess": "Check the credentials of this store",
}


def test_a_wrong_password_is_said_once_and_does_not_flap(containers: Containers) -> None:
    containers.run("up", timeout=UP_SECONDS)
    files = {role: containers.home / f"docker/run/roles/{role}.json" for role in WRONG}
    right = {role: file.read_text() for role, file in files.items()}
    asked_at = str(time.time())
    for role, file in files.items():
        settings = json.loads(right[role])
        if role == "collector":
            for name in ("broker_url", "ledger_url"):
                settings[name] = settings[name].replace("collector:", "collector:x")
        else:
            settings["s3"]["secret_key"] += "x"
        with file.open("w") as opened:  # the same file, which is mounted
            json.dump(settings, opened)
        docker("restart", *(container["Id"] for container in containers.of(role)))
    for role, message in WRONG.items():
        wait_for(
            lambda role=role: {health(c) for c in containers.of(role)} == {"unhealthy"},
            what=f"{role} being unwell",
            deadline_seconds=300,
            every=2,
        )
        for container in containers.of(role):
            assert container["State"]["Status"] == "running"
            (line,) = [x for x in logged(container, asked_at) if "waiting" in x]
            assert message in line
            say(line)
    done = containers.run("up", check=False, timeout=UP_SECONDS)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("headrace: error")]
    assert any(message in line for message in WRONG.values())
    containers.run("up", timeout=UP_SECONDS)  # with new secrets


def goes_on(container: dict[str, Any]) -> bool:
    """Whether it runs, or is started again and again."""
    return container["State"]["Status"] not in ("created", "exited")


def health(container: dict[str, Any]) -> str:
    return str(container["State"]["Health"]["Status"])


def logged(container: dict[str, Any], since: str) -> list[str]:
    command = ["docker", "logs", "--since", since, container["Id"]]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
    return done.stdout.decode().splitlines()


def test_a_missing_bucket_is_made_again(containers: Containers) -> None:
    """The last test of all: it takes the results of the others away."""
    store = containers.s3
    while found := store.list_objects_v2(Bucket="results").get("Contents"):
        keys = [{"Key": entry["Key"]} for entry in found]
        store.delete_objects(Bucket="results", Delete={"Objects": keys})
    store.delete_bucket(Bucket="results")
    containers.run("up", timeout=UP_SECONDS)
    assert "results" in [b["Name"] for b in store.list_buckets()["Buckets"]]
