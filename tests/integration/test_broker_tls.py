"""Broker and ledger behind ``rediss://`` with an authority of one's own, for all who ask them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from producer.doctor import checks as doctor
from shared.broker.dead_letters import connect_dead_letters
from shared.broker.publisher import MessagePublisher
from shared.errors import TransientError
from shared.ledger import connect_ledger
from shared.messages import Chunk
from shared.settings import Settings
from shared.stages import PREPROCESS, queue_name
from tests.support import samples
from tests.support.samples import save_settings
from tests.support.servers import HOST, RunningValkey, free_ports
from tests.support.tls import Authority, TlsFront
from tests.support.waiting import wait_for

ROOT = Path(__file__).parents[2]
QUEUE = queue_name(PREPROCESS)


def behind(front: TlsFront, valkey: RunningValkey, home: Path, ca_file: Path | None) -> Settings:
    user, _, _ = valkey.url.removeprefix("redis://").rpartition("@")
    url = f"rediss://{user}@{HOST}:{front.port}/0"
    return samples.settings(home, url).model_copy(update={"ca_file": ca_file})


@pytest.fixture
def front(valkey: RunningValkey, authority: Authority) -> Iterator[TlsFront]:
    server_port = int(valkey.url.rpartition(":")[2].partition("/")[0])
    with TlsFront(server_port, authority.certify()) as front:
        yield front


@pytest.fixture
def settings(
    front: TlsFront, valkey: RunningValkey, authority: Authority, tmp_path: Path
) -> Settings:
    settings = behind(front, valkey, tmp_path, authority.ca_file)
    save_settings(settings)
    return settings


@pytest.fixture
def process(settings: Settings) -> Iterator[Callable[..., None]]:
    """Start a process of ours with these settings; all end with the test."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, **environment: str) -> None:
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", *arguments],
                env={**os.environ, "HEADRACE_HOME": str(settings.home), **environment},
                stderr=(settings.home / f"{len(running)}.log").open("wb"),
                cwd=ROOT,
            )
        )

    yield start
    for one in running:
        one.terminate()
    for one in running:
        one.wait(20)


@pytest.mark.usefixtures("ledger")
def test_a_worker_takes_a_chunk_and_flower_sees_the_queues(
    settings: Settings, process: Callable[..., None]
) -> None:
    ledger = connect_ledger(settings)
    process("tests.support.workers.echo_worker", "preprocess", HEADRACE_PROCESS="preprocess-1")
    wait_for(ledger.workers, what="the worker's lease")
    (port,) = free_ports(1)
    flower = (
        "celery",
        "-A",
        "shared.broker.celery_app",
        "flower",
        f"--address={HOST}",
        f"--port={port}",
    )
    process(*flower, FLOWER_UNAUTHENTICATED_API="true")

    incarnation = ledger.incarnation()
    assert incarnation is not None
    _, (ref,) = ledger.feed(incarnation, samples.JOB_UID, 0, 1, bound=1)
    chunk = samples.chunk().model_copy(update={"incarnation": incarnation, "attempt": ref.attempt})
    assert isinstance(chunk, Chunk)
    publisher = MessagePublisher(settings)
    publisher.send(PREPROCESS.task, QUEUE, chunk)
    wait_for(lambda: ledger.queued_count(QUEUE) == 0, what="the chunk's way")
    assert publisher.ready_length(QUEUE) == 0
    assert connect_dead_letters(settings).list() == []

    def lengths() -> bytes | None:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/api/queues/length") as answer:
                return bytes(answer.read())
        except OSError:
            return None

    answered = json.loads(wait_for(lengths, what="Flower's answer"))
    assert {queue["messages"] for queue in answered["active_queues"]} == {0}


def test_who_is_certified_by_another_is_not_trusted(
    front: TlsFront, valkey: RunningValkey, stranger: Authority, tmp_path: Path
) -> None:
    settings = behind(front, valkey, tmp_path, stranger.ca_file)
    publisher = MessagePublisher(settings)
    for ask in (
        connect_ledger(settings).incarnation,
        connect_ledger(settings.model_copy(update={"ca_file": None})).incarnation,
        connect_dead_letters(settings).list,
        lambda: publisher.ready_length(QUEUE),
        lambda: publisher.send("t", QUEUE, samples.chunk()),  # by Celery
    ):
        with pytest.raises(TransientError, match="its certificate is not trusted") as caught:
            ask()
        assert "\n" not in str(caught.value)


def test_who_is_certified_under_another_name_is_not_trusted(
    valkey: RunningValkey, authority: Authority, tmp_path: Path
) -> None:
    server_port = int(valkey.url.rpartition(":")[2].partition("/")[0])
    other = authority.certify("subjectAltName=DNS:other.example")
    with TlsFront(server_port, other) as front:
        settings = behind(front, valkey, tmp_path, authority.ca_file)
        with pytest.raises(TransientError, match="its certificate is not trusted"):
            connect_ledger(settings).incarnation()
        with pytest.raises(TransientError, match="its certificate is not trusted"):
            MessagePublisher(settings).send("t", QUEUE, samples.chunk())


def test_the_doctor_says_whose_certificate_it_is(
    front: TlsFront,
    valkey: RunningValkey,
    stranger: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = behind(front, valkey, tmp_path, stranger.ca_file)
    save_settings(settings.model_copy(update={"mode": "docker"}))
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    checks = {check.name: check for check in doctor.examine()}
    for name in ("broker", "ledger"):
        assert checks[name].state == "failed"
        assert "its certificate is not trusted" in checks[name].detail
