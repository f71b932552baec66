"""Reading what RabbitMQ delivers: nothing that is in it is raised, unpacked or decoded."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from typing import Any

import amqp
import pytest
from amqp import spec
from amqp.method_framing import frame_handler

from shared.broker.deliveries import MAX_BODY_BYTES, Delivery
from shared.broker.rabbitmq import RabbitAddress
from tests.support import samples
from tests.support.amqp_deliveries import OWN, delivery_of
from tests.support.malformed import CASES, Target, valid
from workers.quarantine.amqp_transport import Channel, Message
from workers.quarantine.inspection import Malformed

TARGET = Target("preprocess", "v6.preprocess.bulk", "key", samples.chunk())


class Wire:
    """A connection that has one channel and no server."""

    confirm_publish = False
    bytes_recv = 0

    def __init__(self) -> None:
        self.channels: dict[int, Any] = {}
        self.delivered: list[Any] = []
        channel = Channel(self, 1)
        channel.callbacks["tag"] = self.delivered.append
        channel.callbacks["control"] = self.delivered.append
        channel.no_ack_consumers.add("control")
        self.channels[1] = channel
        self._take = frame_handler(self, self._dispatch)

    def _claim_channel_id(self, number: int) -> None:
        pass

    def _dispatch(self, channel: int, method: tuple[int, int], args: bytes, content: Any) -> None:
        self.channels[channel].dispatch_method(method, args, content)

    def receive(
        self, delivery: Delivery, routing_key: bytes = b"q", consumer: bytes = b"tag"
    ) -> Message:
        """As if the server had sent it; what a consumer's callback would be given."""
        method = struct.pack(">HH", *spec.Basic.Deliver)
        method += bytes([len(consumer)]) + consumer + struct.pack(">QB", 7, 0)
        method += b"\0" + bytes([len(routing_key)]) + routing_key
        header = struct.pack(">HHQ", spec.Basic.CLASS_ID, 0, len(delivery.body))
        self._take((1, 1, method))
        self._take((2, 1, header + delivery.properties))
        if delivery.body:
            self._take((3, 1, delivery.body))
        return self.channels[1].message_to_python(self.delivered.pop())


def good() -> Delivery:
    return delivery_of(json.dumps(valid(TARGET)).encode())


def test_a_good_message_comes_with_what_is_signed_and_nothing_else() -> None:
    whole = valid(TARGET)
    whole["headers"] |= {"eta": "2999-01-01T00:00:00", "retries": 9}
    message = Wire().receive(delivery_of(json.dumps(whole).encode()))
    assert message.problem is None
    assert set(message.headers) == {"task", "id"}
    assert set(message.properties) == {"application_headers", "content_type", "content_encoding"}
    assert message.body == base64.b64decode(whole["body"])


@pytest.mark.parametrize("name", OWN)
def test_what_only_amqp_can_say_is_a_problem_and_is_kept_byte_by_byte(name: str) -> None:
    delivery = delivery_of(OWN[name].make(TARGET))
    message = Wire().receive(delivery)
    layer = message.problem.layer if message.problem else "content_type"  # that by inspection
    assert layer == OWN[name].layer
    assert message.item is not None
    assert Delivery.from_raw(message.item) == delivery


def test_it_is_kept_as_it_came_whatever_celery_is_given_in_its_place() -> None:
    delivery = good()
    message = Wire().receive(delivery)
    message.body = b"[[], {}, {}]"
    assert message.item is not None
    assert Delivery.from_raw(message.item) == delivery


def test_a_bomb_is_not_unpacked() -> None:
    message = Wire().receive(delivery_of(CASES["compression: a bomb"].make(TARGET)))
    assert isinstance(message.problem, Malformed)
    assert message.problem.layer == "compression"
    assert len(message.body) < 2**20


def test_remote_control_is_not_unpacked_either_and_is_kept_by_nobody() -> None:
    body = zlib.compress(b"x" * 2**20)
    headers = {"compression": "application/x-gzip", "clock": "now"}
    written = amqp.Message(application_headers=headers)._serialize_properties()
    message = Wire().receive(Delivery(written, body), consumer=b"control")
    assert message.body == body
    assert message.headers == {}
    assert message.item is None


def test_a_routing_key_that_is_no_text_ends_nothing() -> None:
    message = Wire().receive(good(), routing_key=b"\xff\xfe")
    assert message.problem is None
    assert message.delivery_tag == 7


def test_an_empty_message_is_kept() -> None:
    message = Wire().receive(Delivery(b"\0\0", b""))
    assert message.problem is not None
    assert message.item is not None
    assert Delivery.from_raw(message.item) == Delivery(b"\0\0", b"")


def test_a_dead_letter_begins_with_a_line_for_people() -> None:
    line = json.loads(good().to_raw().partition(b"\n")[0])
    assert "headrace.preprocess" in line["properties"]["application_headers"]
    assert line["properties"]["content_type"] == "'application/json'"


def test_a_dead_letter_of_a_large_body_is_cut_and_still_too_large() -> None:
    raw = Delivery(b"\0\0", b"x" * (MAX_BODY_BYTES + 1)).to_raw()
    assert len(Delivery.from_raw(raw).body) == MAX_BODY_BYTES
    assert len(raw) < 16 * 2**20


def test_a_message_goes_out_again_as_it_was() -> None:
    message = delivery_of(OWN["envelope: a type that is no text"].make(TARGET))
    assert message.as_it_was()._serialize_properties() == message.properties
    assert message.as_it_was().body == message.body


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("amqp://u:p@host:1234/v", RabbitAddress("host:1234", "u", "p", "v")),
        ("amqp://u:p%40@host/", RabbitAddress("host:5672", "u", "p@", "/")),
        ("amqps://u:p@host/a%2Fb", RabbitAddress("host:5671", "u", "p", "a/b")),
        ("amqp://", RabbitAddress("127.0.0.1:5672", "guest", "guest", "/")),
    ],
)
def test_an_address_is_read_from_a_url(url: str, address: RabbitAddress) -> None:
    assert RabbitAddress.of(url) == address
    assert "p@" not in repr(address)
