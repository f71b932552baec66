"""The URL of the broker chooses its module, and no process imports the other's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shared.broker.dead_letters import connect_dead_letters
from shared.broker.queues import connect_queues, letters_url, prepare_queues
from shared.broker.rabbitmq import RabbitQueues
from shared.broker.redis_queues import RedisQueues
from shared.errors import TransientError
from shared.settings import Settings
from tests.support import samples

PLACE = "127.0.0.1:9"  # nobody listens there
LOADED = """
import sys
from pathlib import Path
import producer.cli.app, producer.doctor.checks, producer.lead.process, workers.celery_worker
from shared.broker.celery_app import make_app
from shared.broker.dead_letters import connect_dead_letters
from shared.broker.publisher import MessagePublisher
from tests.support import samples
from workers.quarantine import transport
settings = samples.settings(Path("/nowhere")).model_copy(update={"broker_url": sys.argv[1]})
MessagePublisher(settings), connect_dead_letters(settings)
transport.install()
make_app(settings).connection_for_read().get_transport_cls()
print(*(name for name in sys.modules if name.startswith(("shared.", "workers."))))
"""
RABBITMQ = {
    "shared.broker.rabbitmq",
    "shared.broker.deliveries",
    "workers.quarantine.amqp_transport",
}


def at(url: str) -> Settings:
    """Settings with this broker, and a Redis for the rest."""
    return samples.settings(Path("/nowhere")).model_copy(update={"broker_url": url})


def loaded(url: str) -> set[str]:
    command = [sys.executable, "-c", LOADED, url]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return set(done.stdout.split())


def test_on_redis_nothing_of_rabbitmq_is_imported() -> None:
    names = loaded(f"redis://{PLACE}/0")
    assert "shared.broker.redis_queues" in names
    assert not names & RABBITMQ


def test_on_rabbitmq_the_queues_of_redis_are_not_imported() -> None:
    names = loaded(f"amqp://{PLACE}/")
    assert names >= RABBITMQ
    assert "shared.broker.redis_queues" not in names


@pytest.mark.parametrize(
    ("scheme", "kind"),
    [
        ("redis", RedisQueues),
        ("rediss", RedisQueues),
        ("amqp", RabbitQueues),
        ("amqps", RabbitQueues),
    ],
)
def test_the_scheme_chooses_the_queues(scheme: str, kind: type) -> None:
    assert type(connect_queues(at(f"{scheme}://{PLACE}"))) is kind


def test_dead_letters_lie_in_a_redis_in_any_case() -> None:
    on_redis = at(f"redis://{PLACE}/0")
    assert letters_url(on_redis) == on_redis.broker_url
    on_rabbitmq = at(f"amqp://{PLACE}/")
    assert letters_url(on_rabbitmq) == on_rabbitmq.ledger_url
    connect_dead_letters(on_rabbitmq)  # asks nobody yet


def test_only_a_rabbitmq_is_asked_before_it_is_used() -> None:
    prepare_queues(at(f"redis://{PLACE}/0"), ["v6.preprocess.bulk"])
    with pytest.raises(TransientError, match="does not answer"):
        prepare_queues(at(f"amqp://{PLACE}/"))
