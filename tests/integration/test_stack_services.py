"""The local stack with the real services, and a stand-in for our roles that holds real leases."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
import redis
from minio import Minio
from minio.error import S3Error

from producer.stack.home import find_home
from producer.stack.local import down, logs, processes, restart, scale, up
from producer.stack.local.leftovers import find_processes
from producer.stack.ports import HOST
from producer.stack.programs import Program
from producer.stack.ring import ring_directories
from shared.errors import HeadraceError, UsageError
from shared.settings import PROJECT_ROOT

WORKER = """
import os, signal, sys, time
from shared.ledger import WorkerIdentity, connect_ledger
from shared.settings import load_settings

settings = load_settings()
ledger = connect_ledger(settings)
me = WorkerIdentity("stub", os.environ["HEADRACE_PROCESS"], settings.host_id)
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
while True:
    ledger.renew(ledger.begin("born"), me, [])
    time.sleep(0.2)
"""
# Uses the stack as a command line would, in a process of its own that can be interrupted.
UP = """
import signal, sys
from pathlib import Path
from producer.stack.local import running, up
from producer.stack.programs import Program
SLEEP = (sys.executable, "-c", "import time; time.sleep(600)")
running.observer_programs = lambda _: (Program("flower", SLEEP, is_role=False),)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
up(Path(sys.argv[1]), None, print, (Program("stub", SLEEP),))
"""


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    """The table of roles, with one."""
    script = tmp_path_factory.mktemp("stub role") / "worker # 1.py"
    script.write_text(WORKER)
    return (Program("stub", (sys.executable, str(script))),)


@pytest.fixture
def homes(tmp_path_factory):
    """Make homes with paths that bite; whatever is up in them at the end goes down."""
    made = []

    def make():
        name = "a home; with 100% #odd 'signs'" + "x" * 90
        home = tmp_path_factory.mktemp("stack") / name
        made.append(home)
        return home

    yield make
    for home in made:
        down(home)
        assert find_processes(find_home(home)) == {}
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def stack(tmp_path_factory, stub):
    """A stack that is up for tests that leave it as it is: its home and its settings."""
    home = tmp_path_factory.mktemp("stack") / ("a home with 100% " + "x" * 100)
    settings = up(home, None, print, stub)
    yield home, settings
    down(home)
    assert find_processes(find_home(home)) == {}
    assert not any(directory.exists() for directory in ring_directories(find_home(home)))
    down(home)


def client(settings, **credentials):
    keys = {"access_key": settings.s3.access_key, "secret_key": settings.s3.secret_key}
    return Minio(settings.s3.endpoint, **(credentials or keys), secure=False, region="us-east-1")


def pids(home):
    return {process.name: process.pid for process in processes(home)}


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_every_process_runs_and_is_told_who_it_is(stack):
    home, _ = stack
    found = {process.name: process for process in processes(home)}
    assert set(found) == {"valkey", "seaweedfs", "stub-1", "flower"}
    assert {process.state for process in found.values()} == {"running"}
    assert find_processes(find_home(home)).keys() >= {process.pid for process in found.values()}


def test_up_again_changes_nothing(stack, stub):
    home, settings = stack
    before = pids(home)
    assert up(home, None, print, stub) == settings
    assert pids(home) == before


def test_nothing_listens_beyond_loopback(stack):
    home, settings = stack
    listening = [
        connection.laddr
        for pid in find_processes(find_home(home))
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) == 12
    assert {address.ip for address in listening} == {"127.0.0.1"}
    expected = {int(url.rpartition(":")[2]) for url in (settings.s3.endpoint, settings.flower_url)}
    assert expected <= {address.port for address in listening}


def test_no_secret_is_on_a_command_line_or_readable_by_others(stack):
    home, settings = stack
    secrets = [*json.loads((home / "stack.json").read_text())["secrets"].values()]
    assert settings.s3.secret_key in secrets
    for pid in find_processes(find_home(home)):
        line = " ".join(psutil.Process(pid).cmdline())
        assert not any(secret in line for secret in secrets)
    assert home.stat().st_mode & 0o077 == 0
    files = [path for path in home.rglob("*") if path.is_file() and "data" not in path.parts]
    telling = [path for path in files if any(secret in path.read_text() for secret in secrets)]
    assert {path.name for path in telling} >= {"settings.json", "stack.json", "s3.json"}
    assert {oct(path.stat().st_mode & 0o077) for path in telling} == {"0o0"}


def test_the_store_has_our_buckets_and_refuses_strangers(stack):
    _, settings = stack
    names = {bucket.name for bucket in client(settings).list_buckets()}
    assert names == {"state", "models", "results"}
    assert list(client(settings).list_objects("state", recursive=True)) == []
    url = f"http://{settings.s3.endpoint}/state?list-type=2"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(url)
    with pytest.raises(S3Error, match="InvalidAccessKeyId"):
        client(settings, access_key="a", secret_key="b").list_buckets()


def test_the_inner_servers_of_the_store_refuse_strangers(stack):
    home, _ = stack
    ports = json.loads((home / "stack.json").read_text())["ports"]
    for server, path in (
        *(("filer", "/buckets/"), ("filer", "/buckets/state/?recursive=true")),
        *(("master", "/col/delete?collection=state"), ("master", "/dir/assign")),
        *(("master", "/vol/grow?count=1"), ("volume", "/1,0000000001")),
    ):
        with pytest.raises(urllib.error.HTTPError, match=r"40[1345]"):
            urllib.request.urlopen(f"http://{HOST}:{ports[server]}{path}", timeout=10)


def test_the_broker_wants_its_password_and_bounds_messages(stack):
    _, settings = stack
    port = settings.broker_url.split(":")[-1].split("/")[0]
    with redis.Redis(port=int(port)) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    with redis.Redis.from_url(settings.broker_url) as broker:
        assert broker.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert broker.config_get("appendonly") == {"appendonly": "yes"}
        assert broker.set("fits", bytes(15 << 20))
        broker.delete("fits")
        with pytest.raises(redis.ConnectionError):
            broker.set("too long", bytes(17 << 20))


def test_another_stack_runs_beside_it(stack, stub, homes):
    home, settings = stack
    beside = up(homes(), None, print, stub)
    assert beside.s3.endpoint != settings.s3.endpoint
    assert beside.ring.directory != settings.ring.directory
    assert {process.state for process in processes(home)} == {"running"}


def test_what_is_killed_comes_back_and_scale_and_restart_wait_for_it(stub, homes):
    home = homes()
    up(home, {"stub": 2}, print, stub)
    before = pids(home)
    os.kill(before["stub-2"], signal.SIGKILL)
    wait_until(lambda: pids(home)["stub-2"] not in (0, before["stub-2"]))
    os.kill(before["stub-1"], signal.SIGSTOP)
    wait_until(lambda: "suspended" in {process.state for process in processes(home)})
    os.kill(before["stub-1"], signal.SIGCONT)
    scale(home, "stub", 1, print, stub)
    assert set(pids(home)) == {"valkey", "seaweedfs", "stub-1", "flower"}
    assert pids(home)["stub-1"] == before["stub-1"]
    environment = {**os.environ, "HEADRACE_HOME": str(home), "HEADRACE_PROCESS": "stub-1"}
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    orphan = subprocess.Popen(sleep, env=environment, start_new_session=True)
    restart(home, "stub", print, stub)
    assert orphan.poll() is not None  # whatever a role has started ends with it
    after = pids(home)
    assert after["stub-1"] not in (0, before["stub-1"])
    assert after["valkey"] == before["valkey"]
    with pytest.raises(UsageError, match="no role 'nobody'"):
        restart(home, "nobody", print, stub)


def test_after_a_reset_of_the_machine_up_starts_again_with_the_same_data(stub, homes):
    home, told = homes(), []
    settings = up(home, None, told.append, stub)
    with redis.Redis.from_url(settings.broker_url) as broker:
        broker.set("kept", "1")
        assert broker.execute_command("WAITAOF", 1, 0, 5000)[0] == 1
    orphans = pids(home)
    supervisor = find_processes(find_home(home)).keys() - set(orphans.values())
    for pid in supervisor:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: processes(home) == [])
    assert psutil.pid_exists(orphans["valkey"])
    (home / "run" / "supervisord.pid").write_text("1")
    again = up(home, None, told.append, stub)
    (left,) = (text for text in told if "an earlier run had left: " in text)
    # SeaweedFS may have ended: Go ends by SIGPIPE at the next line of a log that nobody reads.
    named = left.rstrip(".").rpartition(": ")[2].split(", ")
    assert [name for name in named if name != "seaweedfs"] == ["flower", "stub-1", "valkey"]
    assert not set(orphans.values()) & set(pids(home).values())
    assert (again.broker_url, again.s3, again.host_id) == (
        settings.broker_url,
        settings.s3,
        settings.host_id,
    )
    with redis.Redis.from_url(again.broker_url) as broker:
        assert broker.get("kept") == b"1"


def test_data_outlives_down_and_a_port_taken_since(stub, homes):
    home, told = homes(), []
    settings = up(home, None, told.append, stub)
    client(settings).fput_object("state", "a/b c", __file__)
    down(home, told.append)
    assert processes(home) == []
    with pytest.raises(UsageError, match="No stack is up"):
        scale(home, "stub", 1, told.append, stub)
    host, port = settings.s3.endpoint.split(":")
    with socket.create_server((host, int(port))):
        again = up(home, None, told.append, stub)
    assert again.s3.endpoint != settings.s3.endpoint
    assert any(f"Port {port} (s3) is taken" in line for line in told)
    assert client(again).stat_object("state", "a/b c").size == Path(__file__).stat().st_size


def test_two_ups_at_once_make_one_stack(stub, homes):
    home, answers = homes(), []
    threads = [
        threading.Thread(target=lambda: answers.append(up(home, None, print, stub)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 2
    assert answers[0] == answers[1]
    names = [*find_processes(find_home(home)).values()]
    assert sorted(names) == ["flower", "seaweedfs", "stub-1", "supervisord", "valkey"]


def test_a_role_that_fails_is_named_and_nothing_stays_behind(stub, homes):
    home = homes()
    broken = Program("broken", (sys.executable, "-c", "import sys; sys.exit('no such model')"))
    with pytest.raises(HeadraceError, match="broken-1 keeps ending") as caught:
        up(home, None, print, (*stub, broken))
    assert "no such model" in caught.value.hint
    assert find_processes(find_home(home)) == {}
    assert not any(directory.exists() for directory in ring_directories(find_home(home)))
    up(home, None, print, stub)
    before = pids(home)
    with pytest.raises(HeadraceError, match="broken-1 keeps ending"):
        up(home, {"stub": 2}, print, (*stub, broken))
    assert pids(home) == before
    assert list(logs(home, "broken"))[-1] == "broken-1 | no such model"


def test_ctrl_c_during_up_leaves_nothing_behind(homes):
    home = homes()
    process = subprocess.Popen(
        [sys.executable, "-c", UP, str(home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
    )
    wait_until(lambda: "stub-1" in pids(home) and pids(home)["stub-1"])
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert b"KeyboardInterrupt" in stderr
    assert find_processes(find_home(home)) == {}
