"""RabbitMQ with a user for each role, who has its own rights only, and encrypted connections."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import amqp
import pytest

from producer.stack.rights.rabbitmq_users import commands, rabbitmq_rights
from shared.broker.publisher import MessagePublisher
from shared.broker.rabbitmq import QUORUM, RabbitAddress, RabbitQueues
from shared.settings import Settings, load_settings
from shared.tls import amqp_options
from tests.support.rabbitmq_server import RabbitServer, start_rabbitmq
from tests.support.rights import (
    DIRECT,
    ELSEWHERE,
    EVENTS,
    LAST,
    MAILBOX,
    MAY_AT_RABBITMQ,
    QUEUES,
    STORE_ROLES,
    WORKERS,
)
from tests.support.servers import HOST
from tests.support.shape_class import PIPELINE, PLUGIN
from tests.support.stack import ROOT, Stack, small_images
from tests.support.tls import Authority
from tests.support.waiting import wait_for

VHOST = "headrace"
REFUSED = "access_refused"
EXCHANGES = ("celery.pidbox", "reply.celery.pidbox", "celeryev", "amq.fanout")


@dataclass(frozen=True, slots=True)
class Guarded:
    """A stack whose roles each come to RabbitMQ as themselves, and encrypted."""

    stack: Stack
    rabbit: RabbitServer
    urls: dict[str, str]

    def refusals(self) -> int:
        """How often RabbitMQ refused anybody anything."""
        return self.rabbit.log.read_text(errors="replace").count(REFUSED)

    def own(self) -> str:
        """Where RabbitMQ's administrator finds the same queues."""
        return self.rabbit.url + VHOST


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Guarded]:
    base = tmp_path_factory.mktemp("guarded")
    plugins, home = base / "plugins", base / "home"
    plugins.mkdir()
    (plugins / "shape.py").write_text(PLUGIN)
    (plugins / "shape.yaml").write_text(PIPELINE)
    rabbit = start_rabbitmq(base / "rabbitmq", authority)
    stack = Stack(home, {"HEADRACE_PLUGINS": str(plugins)})
    try:
        urls = make_users(rabbit)
        home.mkdir(mode=0o700)
        added = {"broker_urls": urls, "ca_file": str(authority.ca_file)}
        (home / "settings.json").write_text(json.dumps(added))
        stack.run("up")
        yield Guarded(stack, rabbit, urls)
    finally:
        stack.run("down", check=False)
        rabbit.stop()


def make_users(rabbit: RabbitServer) -> dict[str, str]:
    """Make them as the documents say. Returns everybody's address."""
    rabbit.type(f"rabbitmqctl add_vhost {VHOST}")
    rabbit.type(f"rabbitmqctl set_permissions -p {VHOST} tests .* .* .*")
    passwords = {name: secrets.token_hex(16) for name in rabbitmq_rights()}
    lines = list(commands(VHOST))
    made = [line for line in lines if "add_user" in line]
    with ThreadPoolExecutor(2) as pool:  # each is an Erlang of its own
        list(pool.map(lambda line: rabbit.type(line, passwords[line.split()[-1]]), made))
        list(pool.map(rabbit.type, (line for line in lines if line not in made)))
    return {
        name: f"amqps://{name}:{password}@{HOST}:{rabbit.tls_port}/{VHOST}"
        for name, password in passwords.items()
    }


def settings_of(guarded: Guarded, role: str) -> Settings:
    return load_settings(guarded.stack.home, f"run/roles/{role}.json")


def test_a_role_is_told_its_own_address_only(guarded: Guarded) -> None:
    for role in (*STORE_ROLES, "flower"):
        text = (guarded.stack.home / f"run/roles/{role}.json").read_text()
        assert [name for name, url in guarded.urls.items() if url in text] == [role]
    assert guarded.stack.info["broker_url"] == guarded.urls["admin"]


def test_a_job_malformed_messages_and_restarts_need_no_more_than_the_roles_have(
    guarded: Guarded,
) -> None:
    stack, plugins = guarded.stack, Path(guarded.stack.environment["HEADRACE_PLUGINS"])
    stack.put("inputs", {**small_images(200, prefix="in/"), "in/bad.jpg": b"no image"})
    names = {queue["name"] for queue in stack.info["queues"]}
    with closing(RabbitQueues(guarded.own(), None)) as queues:
        for name in names:
            queues.publish(name, amqp.Message(b"no message of ours"))
    arguments = ("--chunk-items", "8")
    job = stack.enqueue("s3://inputs/in/", *arguments, pipeline=str(plugins / "shape.yaml"))
    for role in STORE_ROLES:
        stack.run("restart", role)
    stack.finish(job)
    verdict = stack.auditor.audit("inputs", "in/", job)
    assert verdict.clean, verdict
    assert verdict.rows == 201
    letters = wait_for(
        lambda: found if len(found := stack.json("dead-letters", "list")) == len(names) else None,
        what="the dead letters",
    )
    assert {letter["queue"] for letter in letters} == names
    assert stack.json("dead-letters", "replay", "--all") == {"count": len(names)}

    def roles_seen() -> bool:
        workers = stack.flower("/api/workers?refresh=1")
        return {name.split("-")[0] for name in workers} == set(WORKERS)

    wait_for(roles_seen, what="Flower's view")
    assert stack.run("doctor", check=False).returncode == 0
    assert guarded.refusals() == 0


def test_the_producer_may_drop_what_waits_for_a_host_that_is_gone(guarded: Guarded) -> None:
    with closing(RabbitQueues(guarded.own(), None)) as queues:
        before = guarded.refusals()
        for queue in ELSEWHERE:
            queues.publish(queue, amqp.Message(b"for nobody"))
            MessagePublisher(settings_of(guarded, "producer")).discard(queue)
            assert queues.length(queue) == 0
    assert guarded.refusals() == before


@pytest.mark.parametrize("role", MAY_AT_RABBITMQ)
def test_a_role_does_with_rabbitmq_what_it_must_and_nothing_else(
    guarded: Guarded, authority: Authority, role: str
) -> None:
    with connected(guarded.own(), None) as admin:
        channel = admin.channel()
        for queue in QUEUES:
            declare(channel, queue)
    with connected(guarded.urls[role], authority.ca_file) as connection:
        hears = "celeryev" if role == "flower" else "celery.pidbox"
        done = {what for what, action in everything(hears) if is_done(connection, action)}
    assert done == MAY_AT_RABBITMQ[role]
    assert guarded.refusals() > 0


Action = Callable[[Any], object]


def everything(hears: str) -> Iterator[tuple[tuple[str, str], Action]]:
    """All that there is to do with queues and exchanges, in words of our own.

    Binding wants a right at both ends: ``hears`` is the exchange that this role may hear.
    """
    own = EVENTS if hears == "celeryev" else MAILBOX
    for queue in QUEUES:
        yield ("declare", queue), lambda c, q=queue: declare(c, q)
        yield ("take", queue), lambda c, q=queue: c.basic_get(q)
        yield ("bind", queue), lambda c, q=queue: c.queue_bind(q, hears, "never")
    for exchange in EXCHANGES:
        yield ("hear", exchange), lambda c, e=exchange: c.queue_bind(own, e, "never")
    for exchange in (*EXCHANGES, DIRECT):
        yield (
            ("send", exchange),
            lambda c, e=exchange: c.basic_publish_confirm(
                amqp.Message(b""), exchange=e, routing_key="v6.nobodys"
            ),
        )


def declare(channel: Any, queue: str) -> None:
    channel.queue_declare(queue, durable=True, auto_delete=False, arguments=QUORUM)


def is_done(connection: Any, action: Action) -> bool:
    """Did RabbitMQ let it pass? A refusal costs the channel."""
    channel = connection.channel()
    try:
        action(channel)
    except amqp.AccessRefused:
        return False
    except amqp.NotFound:
        return True  # nobody has made that exchange yet
    channel.close()
    return True


def connected(url: str, ca_file: Path | None) -> Any:
    address = RabbitAddress.of(url)
    return amqp.Connection(
        address.place,
        address.user,
        address.password,
        virtual_host=address.vhost,
        ssl=amqp_options(url, ca_file),
    )


def said_by_a_worker(guarded: Guarded, role: str, **environment: str) -> str:
    """The line in which a worker of ``role`` says what it waits for."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "tests.support.workers.echo_worker", role],
        cwd=ROOT,
        env={
            **os.environ,
            "HEADRACE_HOME": str(guarded.stack.home),
            "HEADRACE_SETTINGS_FILE": f"run/roles/{role}.json",
            **environment,
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert worker.stderr
        said = next(line for line in worker.stderr if "waiting" in line)
    finally:
        worker.terminate()
        _, rest = worker.communicate(timeout=60)
    assert "Traceback" not in rest
    return said


def test_whom_another_authority_has_certified_no_worker_and_no_command_speaks_to(
    guarded: Guarded, stranger: Authority
) -> None:
    distrust = {"HEADRACE_CA_FILE": str(stranger.ca_file)}
    stack = Stack(guarded.stack.home, {**guarded.stack.environment, **distrust})
    done = stack.run("up", check=False)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    for said in (line, said_by_a_worker(guarded, "preprocess", **distrust)):
        assert "its certificate is not trusted: see ca_file" in said


def test_a_worker_with_anothers_user_says_so_in_one_line(guarded: Guarded) -> None:
    elses = {"HEADRACE_BROKER_URL": guarded.urls["preprocess"]}
    said = said_by_a_worker(guarded, "collector", **elses)
    assert any(f"access to queue '{queue}'" in said for queue in LAST)
    assert "refused for user 'preprocess'" in said
