import socket
import subprocess
import sys

import pytest

from producer.stack import ports
from producer.stack.ports import ADMIN_OFFSET, HOST, choose_ports, choosing, is_free, port_names
from shared.errors import HeadraceError

ANOTHER_STACK = """
import sys
from producer.stack.ports import choosing
with choosing() as claim:
    print(claim(int(sys.argv[1])), flush=True)
    sys.stdin.read()
"""

NAMES = port_names()


@pytest.fixture
def told():
    return []


def anybody(port):
    return True


def test_ports_are_distinct_and_the_admins_second_one_is_free_too(told):
    chosen = choose_ports({}, told.append, anybody, NAMES)
    assert set(chosen) == set(NAMES)
    everything = [*chosen.values(), chosen["admin"] + ADMIN_OFFSET]
    assert len(set(everything)) == len(everything)
    assert all(map(is_free, everything))
    assert told == []


def test_ports_stay_as_they_were(told):
    chosen = choose_ports({}, told.append, anybody, NAMES)
    assert choose_ports(chosen, told.append, anybody, NAMES) == chosen
    assert told == []


@pytest.mark.parametrize("name", ["s3", "admin"])
def test_a_taken_port_is_replaced_and_told(told, name):
    chosen = choose_ports({}, told.append, anybody, NAMES)
    taken = chosen[name] + (ADMIN_OFFSET if name == "admin" else 0)
    with socket.create_server((HOST, taken)):
        again = choose_ports(chosen, told.append, anybody, NAMES)
    assert again[name] != chosen[name]
    assert {**again, name: 0} == {**chosen, name: 0}
    assert len(told) == 1
    assert str(chosen[name]) in told[0]
    assert str(again[name]) in told[0]


def test_no_free_port_is_an_error(told, monkeypatch):
    monkeypatch.setattr(ports, "is_free", lambda port: False)
    with pytest.raises(HeadraceError, match="No free port"):
        choose_ports({}, told.append, anybody, NAMES)


def test_a_port_that_another_stack_has_chosen_is_ours_once_it_lets_go(told):
    """And nobody waits for it: it may take a minute to start."""
    chosen = choose_ports({}, told.append, anybody, NAMES)
    command = [sys.executable, "-c", ANOTHER_STACK, str(chosen["s3"])]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as another:
        assert another.stdout.readline() == "True\n"
        with choosing() as claim:
            assert not claim(chosen["s3"])
            assert choose_ports(chosen, told.append, claim, NAMES)["s3"] != chosen["s3"]
        another.kill()
        another.wait()
    with choosing() as claim:
        assert claim(chosen["s3"])
