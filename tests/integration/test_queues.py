"""What the broker's queues must do for a sender: the same on Redis and on RabbitMQ."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from shared.broker.dead_letters import DeadLetter, connect_dead_letters
from shared.broker.publisher import MessagePublisher
from shared.errors import TransientError
from shared.messages import MAX_MESSAGE_BYTES
from shared.settings import Settings
from shared.stages import PREPROCESS
from tests.support import samples
from tests.support.servers import HOST, RunningValkey, free_ports


@pytest.fixture
def settings(tmp_path: Path, valkey: RunningValkey, broker_url: str) -> Settings:
    return samples.settings(tmp_path, valkey.url).model_copy(update={"broker_url": broker_url})


@pytest.fixture
def publisher(settings: Settings) -> MessagePublisher:
    return MessagePublisher(settings)


@pytest.fixture
def queue() -> str:
    """One that nobody has used."""
    return f"v6.test.{secrets.token_hex(6)}"


def test_a_queue_that_is_not_there_is_empty_and_may_be_asked_again(
    publisher: MessagePublisher, queue: str
) -> None:
    assert [publisher.ready_length(queue) for _ in range(3)] == [0, 0, 0]
    publisher.send(PREPROCESS.task, queue, samples.chunk())
    assert publisher.ready_length(queue) == 1


def test_each_message_counts_in_its_own_queue(publisher: MessagePublisher, queue: str) -> None:
    for count in range(1, 21):
        publisher.send(PREPROCESS.task, queue, samples.chunk(count))
        assert publisher.ready_length(queue) == count
    assert publisher.ready_length(f"{queue}.other") == 0


def test_another_process_counts_the_same(
    publisher: MessagePublisher, settings: Settings, queue: str
) -> None:
    publisher.send(PREPROCESS.task, queue, samples.chunk())
    assert MessagePublisher(settings).ready_length(queue) == 1


def test_the_largest_message_is_taken(publisher: MessagePublisher, queue: str) -> None:
    chunk = samples.chunk()
    item = chunk.items[0].model_copy(update={"key": "k" * 1000})
    large = chunk.model_copy(update={"items": [item] * 7000})
    assert MAX_MESSAGE_BYTES * 3 / 4 < len(large.model_dump_json()) < MAX_MESSAGE_BYTES
    publisher.send(PREPROCESS.task, queue, large)
    assert publisher.ready_length(queue) == 1


def test_what_waits_can_be_dropped_and_the_queue_used_again(
    publisher: MessagePublisher, queue: str
) -> None:
    publisher.discard(queue)
    for count in range(1, 4):
        publisher.send(PREPROCESS.task, queue, samples.chunk(count))
    publisher.discard(queue)
    assert publisher.ready_length(queue) == 0
    publisher.send(PREPROCESS.task, queue, samples.chunk())
    assert publisher.ready_length(queue) == 1


def test_a_broker_that_does_not_answer_is_an_error_of_one_line(
    settings: Settings, broker_url: str, queue: str
) -> None:
    (port,) = free_ports(1)
    scheme = broker_url.partition("://")[0]
    nowhere = f"{scheme}://somebody:secret@{HOST}:{port}/"
    publisher = MessagePublisher(settings.model_copy(update={"broker_url": nowhere}))
    for ask in (
        lambda: publisher.ready_length(queue),
        lambda: publisher.send(PREPROCESS.task, queue, samples.chunk()),
        lambda: publisher.discard(queue),
    ):
        with pytest.raises(TransientError) as caught:
            ask()
        assert caught.value.code == "broker_unavailable"
        assert caught.value.hint
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)


def test_dead_letters_are_kept_and_found_by_another_process(settings: Settings) -> None:
    letters = connect_dead_letters(settings)
    letters.purge()
    letter = DeadLetter.of(queue="q", layer="body", reason="r", raw=b"\0\xff")
    letters.add(letter)
    assert connect_dead_letters(settings).show(letter.id) == letter
    letters.purge()
