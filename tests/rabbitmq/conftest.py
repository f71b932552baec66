"""A stack whose broker is RabbitMQ, by nothing but the broker's address in its environment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.injection.recording_model import Seen
from tests.support.rabbitmq_server import RabbitServer
from tests.support.stack import Stack, small_images

IMAGES, BATCH = 800, 8


@dataclass(frozen=True, slots=True)
class Ground:
    """The stack, its RabbitMQ, and a bucket of IMAGES images."""

    stack: Stack
    rabbit: RabbitServer
    seen: Seen

    def enqueue(self) -> str:
        """A job over all of the bucket."""
        return self.stack.enqueue(
            "s3://inputs/in/", "--chunk-items", str(BATCH), pipeline=self.seen.pipeline
        )


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory, rabbit: RabbitServer) -> Iterator[Ground]:
    base = tmp_path_factory.mktemp("ground")
    (base / "plugins").mkdir()
    seen = Seen(base / "plugins")
    variables = {"HEADRACE_PLUGINS": str(base / "plugins"), "HEADRACE_BROKER_URL": rabbit.url}
    stack = Stack(base / "home", variables)
    try:
        stack.run("up")
        stack.put("inputs", small_images(IMAGES, prefix="in/"))
        yield Ground(stack, rabbit, seen)
    finally:
        stack.run("down", check=False)
