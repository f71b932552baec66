"""What RabbitMQ alone does with queues: it loses them, refuses things, and asks who is there."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import amqp
import pytest

from producer.doctor import checks as doctor
from shared.broker.publisher import MessagePublisher
from shared.broker.rabbitmq import QUORUM, RabbitAddress, RabbitQueues
from shared.errors import PermanentError, TransientError
from shared.settings import Settings
from shared.stages import PREPROCESS
from tests.support import samples
from tests.support.rabbitmq_server import RabbitServer
from tests.support.samples import save_settings
from tests.support.tls import Authority, TlsFront
from tests.support.waiting import wait_for
from tests.support.worker_harness import WorkerHarness, start


@pytest.fixture
def queue() -> str:
    return f"v6.test.{secrets.token_hex(6)}"


@pytest.fixture
def settings(tmp_path: Path, rabbit: RabbitServer) -> Settings:
    return samples.settings(tmp_path).model_copy(update={"broker_url": rabbit.url})


@pytest.fixture
def channel(rabbit: RabbitServer) -> Iterator[amqp.Channel]:
    """An administrator's."""
    address = RabbitAddress.of(rabbit.url)
    connection = amqp.Connection(address.place, address.user, address.password)
    with connection:
        yield connection.channel()


def length(publisher: MessagePublisher, queue: str) -> int | None:
    """None while the queue finds itself again."""
    try:
        return publisher.ready_length(queue)
    except TransientError:
        return None


def test_what_is_sent_survives_a_restart(
    settings: Settings, rabbit: RabbitServer, queue: str
) -> None:
    publisher = MessagePublisher(settings)
    for count in range(5):
        publisher.send(PREPROCESS.task, queue, samples.chunk(count))
    # In good order: killed, RabbitMQ itself forgets queues that were made in the seconds before.
    rabbit.kill(signal.SIGTERM)
    with pytest.raises(TransientError):
        publisher.send(PREPROCESS.task, queue, samples.chunk())
    rabbit.start()
    wait_for(lambda: length(publisher, queue) == 5, what="all five again")


def test_a_queue_that_was_deleted_is_there_again_with_the_next_message(
    settings: Settings, channel: amqp.Channel, queue: str
) -> None:
    publisher = MessagePublisher(settings)
    publisher.send(PREPROCESS.task, queue, samples.chunk())
    channel.queue_delete(queue)
    assert publisher.ready_length(queue) == 0
    publisher.send(PREPROCESS.task, queue, samples.chunk())
    assert publisher.ready_length(queue) == 1


@pytest.fixture
def harness(tmp_path: Path, rabbit: RabbitServer) -> Iterator[WorkerHarness]:
    yield from start(tmp_path, "inference", rabbit_url=rabbit.url)


def test_a_queue_that_is_deleted_and_made_again_at_once_is_consumed_on(
    harness: WorkerHarness, channel: amqp.Channel
) -> None:
    """Of that RabbitMQ tells a consumer nothing, and what was sent just then is lost with it."""
    for _ in range(3):
        ran, message = harness.ran(), harness.queued()
        channel.queue_delete(harness.target.queue)
        harness.send(message)

        def another_comes(ran: int = ran) -> bool:
            harness.send(harness.queued())
            return harness.ran() > ran

        wait_for(another_comes, what="a message", deadline_seconds=60, every=1)


def test_queues_are_durable_quorum_queues(
    settings: Settings, channel: amqp.Channel, queue: str
) -> None:
    MessagePublisher(settings).send(PREPROCESS.task, queue, samples.chunk())
    channel.queue_declare(queue, durable=True, auto_delete=False, arguments=QUORUM)
    with pytest.raises(amqp.PreconditionFailed):
        channel.queue_declare(queue, durable=True, auto_delete=False)


def test_a_queue_of_another_kind_is_an_error_of_one_line(
    settings: Settings, channel: amqp.Channel, queue: str
) -> None:
    channel.queue_declare(queue, auto_delete=False)
    with pytest.raises(TransientError, match="PRECONDITION_FAILED") as caught:
        MessagePublisher(settings).send(PREPROCESS.task, queue, samples.chunk())
    assert "\n" not in str(caught.value)
    channel.queue_delete(queue)


def test_a_message_over_the_servers_own_bound_is_too_large(
    rabbit: RabbitServer, queue: str
) -> None:
    queues = RabbitQueues(rabbit.url, None)
    with pytest.raises(PermanentError, match="max_message_size") as caught:
        queues.publish(queue, amqp.Message(b" " * (17 * 2**20)))
    assert caught.value.code == "message_too_large"
    queues.publish(queue, amqp.Message(b"small"))
    assert queues.length(queue) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("tests:", "nobody:"), "refuses user 'nobody'"),
        (("@", "x@"), "the name or the password is wrong"),
        (("/", "/no-such"), "gives user 'tests' no virtual host 'no-such'"),
    ],
)
def test_who_is_refused_is_told_so_in_one_line(
    settings: Settings,
    change: tuple[str, str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head, found, tail = settings.broker_url.rpartition(change[0])
    assert found
    wrong = settings.model_copy(update={"broker_url": head + change[1] + tail, "mode": "docker"})
    with pytest.raises(TransientError, match=says) as caught:
        MessagePublisher(wrong).ready_length("q")
    password = urlsplit(wrong.broker_url).password
    assert password
    assert password not in str(caught.value)
    assert "\n" not in str(caught.value)

    save_settings(wrong)
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    (broker,) = (check for check in doctor.examine() if check.name == "broker")
    assert broker.state == "failed"
    assert says in broker.detail
    assert broker.hint


def test_the_doctor_says_which_server_answers(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_settings(settings.model_copy(update={"mode": "docker"}))
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    (broker,) = (check for check in doctor.examine() if check.name == "broker")
    assert broker.state == "ok"
    assert broker.detail.startswith("RabbitMQ ")


def test_who_takes_from_a_queue_is_counted(
    settings: Settings, channel: amqp.Channel, queue: str
) -> None:
    with closing(RabbitQueues(settings.broker_url, None)) as queues:
        assert queues.consumers(queue) == 0  # there is none
        queues.declare(queue)
        assert queues.consumers(queue) == 0
        channel.basic_consume(queue)
        assert queues.consumers(queue) == 1


def behind(front: TlsFront, settings: Settings, ca_file: Path | None) -> Settings:
    user = urlsplit(settings.broker_url).netloc.rpartition("@")[0]
    url = f"amqps://{user}@127.0.0.1:{front.port}/"
    return settings.model_copy(update={"broker_url": url, "ca_file": ca_file})


def test_only_who_is_certified_by_whom_we_trust_is_spoken_to(
    settings: Settings, rabbit: RabbitServer, authority: Authority, stranger: Authority, queue: str
) -> None:
    with TlsFront(rabbit.port, authority.certify()) as front:
        trusting = MessagePublisher(behind(front, settings, authority.ca_file))
        trusting.send(PREPROCESS.task, queue, samples.chunk())
        assert trusting.ready_length(queue) == 1
        for ca_file in (stranger.ca_file, None):
            with pytest.raises(TransientError, match="its certificate is not trusted"):
                MessagePublisher(behind(front, settings, ca_file)).ready_length(queue)
    other = authority.certify("subjectAltName=DNS:other.example")
    with TlsFront(rabbit.port, other) as front:
        ask = MessagePublisher(behind(front, settings, authority.ca_file)).ready_length
        with pytest.raises(TransientError, match="its certificate is not trusted"):
            ask(queue)
