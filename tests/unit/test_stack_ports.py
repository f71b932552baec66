import socket

import pytest

from producer.stack import ports
from producer.stack.ports import ADMIN_OFFSET, HOST, PORT_NAMES, choose_ports, is_free
from shared.errors import HeadraceError


@pytest.fixture
def told():
    return []


def test_ports_are_distinct_and_the_admins_second_one_is_free_too(told):
    chosen = choose_ports({}, told.append)
    assert set(chosen) == set(PORT_NAMES)
    everything = [*chosen.values(), chosen["admin"] + ADMIN_OFFSET]
    assert len(set(everything)) == len(everything)
    assert all(map(is_free, everything))
    assert told == []


def test_ports_stay_as_they_were(told):
    chosen = choose_ports({}, told.append)
    assert choose_ports(chosen, told.append) == chosen
    assert told == []


@pytest.mark.parametrize("name", ["s3", "admin"])
def test_a_taken_port_is_replaced_and_told(told, name):
    chosen = choose_ports({}, told.append)
    taken = chosen[name] + (ADMIN_OFFSET if name == "admin" else 0)
    with socket.create_server((HOST, taken)):
        again = choose_ports(chosen, told.append)
    assert again[name] != chosen[name]
    assert {**again, name: 0} == {**chosen, name: 0}
    assert len(told) == 1
    assert str(chosen[name]) in told[0]
    assert str(again[name]) in told[0]


def test_no_free_port_is_an_error(told, monkeypatch):
    monkeypatch.setattr(ports, "is_free", lambda port: False)
    with pytest.raises(HeadraceError, match="No free port"):
        choose_ports({}, told.append)
