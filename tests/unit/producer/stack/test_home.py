import json
import stat
import threading
from collections import namedtuple

import pytest

from producer.stack import home as home_module
from producer.stack.home import find_home, locked, prepare_home, socket_directory, write_private
from producer.stack.ports import port_names
from producer.stack.programs import chosen_scale, role_programs
from producer.stack.record import RECORD_FILE, load_record, save_record
from producer.stack.rights.broker_users import ADMIN
from producer.stack.roles import ROLES
from producer.stack.settings_file import role_settings_file, write_settings
from shared.errors import PermanentError, UsageError
from shared.settings import RingSettings

Usage = namedtuple("Usage", "total used free")


def test_a_home_is_private_and_has_one_name(tmp_path):
    home = prepare_home(tmp_path / "x" / ".." / "home")
    assert home == find_home(tmp_path / "home")
    assert stat.S_IMODE(home.root.stat().st_mode) == 0o700


def test_a_home_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PermanentError, match=r"Cannot write to .*file/home: Not a directory"):
        prepare_home(tmp_path / "file" / "home")


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(home_module.shutil, "disk_usage", lambda _: Usage(0, 0, 5 << 20))
    with pytest.raises(PermanentError, match="Only 5 MiB are free"):
        prepare_home(tmp_path / "home")


def test_sockets_lie_in_a_short_private_folder(tmp_path):
    home = prepare_home(tmp_path / ("long " * 30))
    directory = socket_directory(home)
    try:
        assert len(str(directory)) < 80
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert socket_directory(home) == directory
        directory.chmod(0o755)
        with pytest.raises(Exception, match="not a private folder"):
            socket_directory(home)
    finally:
        directory.rmdir()


def test_a_second_command_waits_and_says_so(tmp_path):
    home = prepare_home(tmp_path / "home")
    told, done = [], threading.Event()

    def second():
        with locked(home, told.append):
            done.set()

    with locked(home, told.append):
        thread = threading.Thread(target=second)
        thread.start()
        assert not done.wait(0.2)
    assert done.wait(10)
    thread.join()
    assert len(told) == 1


def test_the_record_keeps_secrets_and_is_private(tmp_path):
    home = prepare_home(tmp_path / "home")
    record = load_record(home)
    secret = record.secret("valkey")
    assert len(secret) == 32
    assert secret not in repr(record)
    save_record(home, record)
    assert stat.S_IMODE((home.root / RECORD_FILE).stat().st_mode) == 0o600
    assert load_record(home) == record


def test_a_damaged_record_is_replaced(tmp_path):
    home = prepare_home(tmp_path / "home")
    (home.root / RECORD_FILE).write_text("{")
    assert load_record(home).ports == {}


def planned(tmp_path):
    """A home, and the record of a stack that has its ports and its ring."""
    home = prepare_home(tmp_path / "home")
    record = load_record(home)
    record.ports = {name: 20_000 + number for number, name in enumerate(port_names())}
    record.ring = RingSettings(directory=tmp_path, slot_bytes=(1,), slot_counts=(1,))
    return home, record


def test_settings_keep_what_users_add_and_not_what_the_shell_says(tmp_path, monkeypatch):
    home, record = planned(tmp_path)
    write_private(home.root / "settings.json", json.dumps({"lease_seconds": 3, "mode": "x"}))
    monkeypatch.setenv("HEADRACE_PREPROCESS_QUEUE_CHUNKS", "5")
    settings = write_settings(home, record)
    assert settings.preprocess_queue_chunks == 5
    assert settings.lease_seconds == 3
    assert settings.mode == "local"
    written = json.loads((home.root / "settings.json").read_text())
    assert "preprocess_queue_chunks" not in written
    assert stat.S_IMODE((home.root / "settings.json").stat().st_mode) == 0o600
    assert write_settings(home, record).signing_keys == settings.signing_keys


@pytest.fixture
def own_broker(tmp_path):
    """A home whose user has named a broker for every role, and the names and addresses."""
    home, record = planned(tmp_path)
    urls = {name: f"amqp://{name}:of-{name}@rabbit/" for name in (ADMIN, *ROLES)}
    write_private(home.root / "settings.json", json.dumps({"broker_urls": urls}))
    return home, record, urls


def test_each_role_is_told_its_own_address_of_a_users_broker(own_broker):
    home, record, urls = own_broker
    for _ in range(2):  # and again, at the next start
        assert write_settings(home, record).broker_url == urls[ADMIN]
        for role in ROLES:
            text = (home.root / role_settings_file(role)).read_text()
            assert [name for name in urls if urls[name] in text] == [role]
            assert json.loads(text)["ledger_url"].startswith(f"redis://{role}:")


@pytest.mark.parametrize("change", [{"inference": None}, {"nobody": "amqp://rabbit/"}])
def test_a_broker_that_is_not_everybodys_is_refused(own_broker, change):
    home, record, urls = own_broker
    changed = {name: url for name, url in {**urls, **change}.items() if url}
    write_private(home.root / "settings.json", json.dumps({"broker_urls": changed}))
    with pytest.raises(UsageError, match="an address for each role") as caught:
        write_settings(home, record)
    assert "\n" not in str(caught.value)


def test_settings_that_cannot_be_read_are_not_written_over(tmp_path):
    home, record = planned(tmp_path)
    write_private(home.root / "settings.json", '{"lease_seconds": 3,}')
    with pytest.raises(UsageError, match=r"Cannot read .*settings\.json"):
        write_settings(home, record)
    assert "lease_seconds" in (home.root / "settings.json").read_text()


def test_scale_is_what_was_asked_for_then_what_it_was(tmp_path):
    record = load_record(find_home(tmp_path))
    record.scale = {"preprocess": 3, "gone": 9}
    chosen = chosen_scale(record, role_programs(), {"inference": 2})
    assert chosen == {"producer": 1, "preprocess": 3, "inference": 2, "collector": 1}


@pytest.mark.parametrize("workers", [{"nobody": 1}, {"inference": -1}, {"inference": 65}])
def test_a_scale_that_cannot_be_is_refused(tmp_path, workers):
    with pytest.raises(UsageError):
        chosen_scale(load_record(find_home(tmp_path)), role_programs(), workers)
