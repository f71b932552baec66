"""Which settings are refused, and which file they come from."""

import json

import pytest
from pydantic import ValidationError

from shared.errors import UsageError
from shared.settings import S3Settings, load_settings

GOOD = {
    "host_id": "host-1",
    "broker_url": "redis://preprocess:a-long-one@valkey:6379/0",
    "ledger_url": "redis://preprocess:a-long-one@valkey:6379/1",
    "s3": {"endpoint": "store:9000", "access_key": "an-id", "secret_key": "a-long-one"},
    "ring": {"directory": "/dev/shm/x", "slot_bytes": [1], "slot_counts": [1]},
    "signing_keys": ["k"],
}


def load(home, **changes):
    (home / "settings.json").write_text(json.dumps(GOOD | changes))
    return load_settings(home)


@pytest.mark.parametrize("name", ["broker_url", "ledger_url", "staging_url"])
@pytest.mark.parametrize(
    "url",
    [
        "redis://valkey:6379/0",
        "redis://:@valkey/0",
        "redis://user@10.0.0.1:6379",
        "amqp://guest:guest@rabbit//",
        "redis://:Redis@[2001:db8::1]:6379/0",
        "rediss://default:%70assword@cache.example:6379/0",
    ],
)
def test_an_empty_or_a_default_password_is_refused_beyond_this_machine(tmp_path, name, url):
    with pytest.raises(UsageError, match=f"{name}: .*beyond this machine") as caught:
        load(tmp_path, **{name: url})
    assert caught.value.code == "bad_settings"


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "redis://localhost/1",
        "redis://[::1]:6379/0",
        "unix:///run/valkey.sock",
        "redis://:x-7c1f@valkey:6379/0",
    ],
)
def test_on_this_machine_or_with_a_password_of_its_own_it_passes(tmp_path, url):
    assert load(tmp_path, broker_url=url).broker_url == url


@pytest.mark.parametrize("keys", [("", ""), ("minioadmin", "minioadmin"), ("an-id", "Secret")])
def test_a_store_beyond_this_machine_wants_keys_of_its_own(keys):
    with pytest.raises(ValidationError, match="beyond this machine"):
        S3Settings(endpoint="store.example:9000", access_key=keys[0], secret_key=keys[1])
    assert S3Settings(endpoint="127.0.0.1:9000", access_key=keys[0], secret_key=keys[1])


def test_the_complaint_does_not_repeat_the_password(tmp_path):
    with pytest.raises(UsageError) as caught:
        load(tmp_path, broker_url="redis://someone:changeme@valkey:6379/0")
    assert "changeme" not in f"{caught.value} {caught.value.hint}"


def test_a_role_reads_the_file_that_its_environment_names(tmp_path, monkeypatch):
    load(tmp_path)
    own = GOOD | {"broker_url": "redis://inference:its-own@valkey:6379/0"}
    (tmp_path / "own.json").write_text(json.dumps(own))
    monkeypatch.setenv("HEADRACE_SETTINGS_FILE", "own.json")
    assert load_settings(tmp_path).broker_url == own["broker_url"]
    assert load_settings(tmp_path, "settings.json").broker_url == GOOD["broker_url"]
    monkeypatch.setenv("HEADRACE_SETTINGS_FILE", str(tmp_path / "own.json"))
    assert load_settings(tmp_path).broker_url == own["broker_url"]


def test_who_has_a_stack_in_containers_only_is_told_how_to_reach_it(tmp_path, monkeypatch):
    monkeypatch.delenv("HEADRACE_SETTINGS_FILE", raising=False)
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "settings.json").touch()
    with pytest.raises(UsageError, match="HEADRACE_PROFILE=docker"):
        load_settings(tmp_path)
