"""What can be known of the stack in containers where none can run."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from producer.stack.containers import broker_place
from producer.stack.containers.compose import NOISE, VARIABLES, Compose, failure
from producer.stack.containers.files import DATA_FOLDERS, UNPRIVILEGED, outside, write_files
from producer.stack.containers.lifecycle import down, scale
from producer.stack.containers.states import is_ill, is_well, role_of
from producer.stack.home import Home, prepare_home
from producer.stack.record import StackRecord, save_record
from producer.stack.roles import ROLES, WORKER_STOP_SECONDS, working_roles
from producer.stack.settings_file import write_own_settings
from shared.errors import HeadraceError, UsageError
from shared.settings import PROJECT_ROOT, default_home, load_settings

COMPOSE = (PROJECT_ROOT / "docker-compose.yml").read_text()
DOCKERFILE = (PROJECT_ROOT / "Dockerfile").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
IN_IMAGE = [n for n in SERVICES if role_of(n) in {role.name for role in working_roles()}]


@pytest.fixture
def record() -> StackRecord:
    scale = {"producer": 1, "preprocess": 2, "inference": 1, "collector": 1}
    return StackRecord(host_id="host-1", scale=scale, ports={"store": 20001, "flower": 20002})


@pytest.fixture
def home(tmp_path: Path, record: StackRecord) -> Home:
    home = prepare_home(tmp_path / "a home" / "docker", DATA_FOLDERS)
    write_files(home, record)
    return home


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_its_limits_and_may_do_little(name: str) -> None:
    service = SERVICES[name]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["read_only"] is True
    assert service["user"].startswith("${HEADRACE_USER:?")
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == ("no" if name == "setup" else "unless-stopped")
    assert service["logging"]["options"]["max-size"]
    assert service["stop_grace_period"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_health_check(name: str) -> None:
    if name in IN_IMAGE:
        assert "HEALTHCHECK" in DOCKERFILE
        assert "healthcheck" not in SERVICES[name]
    elif name == "setup":
        assert SERVICES[name]["healthcheck"] == {"disable": True}
    else:
        assert SERVICES[name]["healthcheck"]["test"]


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_reaches_into_the_machine(name: str) -> None:
    given = {"privileged", "network_mode", "pid", "ipc", "cap_add", "devices", "userns_mode"}
    assert not given & set(SERVICES[name])
    for mount in SERVICES[name].get("volumes", []):
        inside = (
            *("./config", "${HEADRACE_FILES}/data/", "staging"),
            "${HEADRACE_STORES}",
        )
        assert mount["source"].startswith(inside)
        assert mount.get("read_only") or "/data/" in mount["source"] or mount["type"] == "volume"


def test_secrets_come_by_file_and_in_no_variable() -> None:
    for name, service in SERVICES.items():
        environment = service.get("environment", {})
        telling = [v for v in environment if re.search(r"KEY|PASSWORD|SECRET|TOKEN|_URL", v)]
        # Keys of other people's stores, where the user's own shell has them.
        passed_on = {v for v in telling if v.startswith("AWS_") and environment[v] is None}
        assert {v for v in telling if v not in passed_on} <= {"MINIO_ROOT_PASSWORD_FILE"}, name
        assert not re.search(r"://[^/\s]*:[^/\s]*@", str(service["command"])), name


def test_the_images_that_are_pulled_are_pinned() -> None:
    pulled = re.findall(r"(?:_IMAGE:-|_IMAGE=)([^}\s\"]+:[^}\s\"]+)", COMPOSE + DOCKERFILE)
    assert len(pulled) == 5
    for image in pulled:
        assert re.search(r":(RELEASE\.)?\d+[.-]\d+[\w.-]*$", image), image
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert set(bases) == {"${PYTHON_IMAGE}", "packages", "runtime"}


def test_what_is_built_runs_as_nobody_and_takes_only_our_code_along() -> None:
    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE) == [
        f"{UNPRIVILEGED}:{UNPRIVILEGED}"
    ]
    assert DOCKERFILE.index("USER") < DOCKERFILE.index("FROM runtime AS base")
    copied = set(re.findall(r"^COPY (?!--from)(\S+)", DOCKERFILE, re.MULTILINE))
    assert copied == {
        *("requirements/base.txt", "requirements/inference.txt"),
        *("config", "shared", "producer", "workers"),
    }
    assert not re.search(r"^(ADD|ENV .*(KEY|PASSWORD|SECRET|TOKEN))", DOCKERFILE, re.MULTILINE)


def test_a_worker_is_given_the_time_to_finish_what_it_has() -> None:
    for name in IN_IMAGE:
        grace = SERVICES[name]["stop_grace_period"]
        assert int(grace.removesuffix("s")) > WORKER_STOP_SECONDS


def test_roles_start_after_the_services_are_well_and_set_up() -> None:
    for name in (*IN_IMAGE, "flower"):
        conditions = {k: v["condition"] for k, v in SERVICES[name]["depends_on"].items()}
        assert conditions == {
            "redis": "service_healthy",
            "minio": "service_healthy",
            "setup": "service_completed_successfully",
        }


def test_only_the_store_and_flower_are_published_and_on_loopback_by_default() -> None:
    published = {name: service.get("ports", []) for name, service in SERVICES.items()}
    assert {name for name, ports in published.items() if ports} == {"minio", "flower"}
    assert all(
        p.startswith("${HEADRACE_BIND:-127.0.0.1}:") for ps in published.values() for p in ps
    )
    assert SERVICES["redis"]["networks"] == ["broker"]
    assert yaml.safe_load(COMPOSE)["networks"]["broker"] == {"internal": True}


def test_a_role_is_given_its_own_secrets_and_no_others() -> None:
    for name in (*IN_IMAGE, "flower"):
        given = [s["source"] if isinstance(s, dict) else s for s in SERVICES[name]["secrets"]]
        extra = ["flower_auth"] if name == "flower" else []
        assert given == [role_of(name), *extra]


def test_whatever_the_compose_file_needs_is_written(home: Home) -> None:
    written = dict(line.split("=", 1) for line in (home.root / VARIABLES).read_text().splitlines())
    needed = set(re.findall(r"\$\{(\w+)[}:]", COMPOSE)) - set(re.findall(r"\$\{(\w+):?-", COMPOSE))
    assert needed <= set(written)
    folder = written["HEADRACE_FILES"].strip("'")
    assert folder == str(home.root)
    for secret in yaml.safe_load(COMPOSE)["secrets"].values():
        path = Path(secret["file"].replace("${HEADRACE_FILES}", folder))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    for source in re.findall(r'source: "\$\{HEADRACE_FILES\}(/[^"]*)"', COMPOSE):
        assert Path(folder + source).is_dir()


def test_containers_are_given_the_stores_that_the_command_line_reads(
    home: Home, record: StackRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"HEADRACE_STORES='{PROJECT_ROOT}/config/stores.yaml'" in variables(home)
    stores = tmp_path / "stores.yaml"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADRACE_STORES_FILE", "stores.yaml")
    with pytest.raises(UsageError, match=r"There is no .*stores\.yaml"):
        write_files(home, record)
    stores.touch()
    write_files(home, record)
    assert f"HEADRACE_STORES='{stores}'" in variables(home)


def variables(home: Home) -> list[str]:
    return (home.root / VARIABLES).read_text().splitlines()


def test_each_file_of_a_role_has_its_own_secrets_only(home: Home, record: StackRecord) -> None:
    for role in ROLES:
        text = (home.run / "roles" / f"{role}.json").read_text()
        found = {name for name, secret in record.secrets.items() if secret in text}
        signing = "signing_flower" if role == "flower" else "signing"
        assert found == {f"broker_{role}", f"s3_access_{role}", f"s3_secret_{role}", signing}
        settings = load_settings(home.root, f"run/roles/{role}.json")
        assert settings.s3.endpoint == "minio:9000"
        assert settings.broker_url.endswith("@redis:6379/0")


def test_setup_has_nothing_for_the_broker(home: Home, record: StackRecord) -> None:
    text = (home.run / "roles" / "setup.json").read_text()
    found = {name for name, secret in record.secrets.items() if secret in text}
    assert found == {"broker_setup", "s3_access_admin", "s3_secret_admin", "signing_setup"}
    assert "user setup " not in (home.root / "secrets" / "broker_users").read_text()


def test_nobody_is_the_default_user_of_the_broker_who_reads_its_data_back(home: Home) -> None:
    first = (home.root / "secrets" / "broker_users").read_text().splitlines()[0].split()
    assert first == ["user", "default", "off", "resetpass", "~*", "&*", "+@all"]


def test_the_store_is_told_a_user_and_a_policy_for_each_role(
    home: Home, record: StackRecord
) -> None:
    access = json.loads((home.root / "secrets" / "store_access").read_text())
    names = {role.name for role in working_roles()}
    assert set(access["keys"]) == names == set(access["policies"])
    for role, (key, secret) in access["keys"].items():
        assert (key, secret) == (
            record.secrets[f"s3_access_{role}"],
            record.secret(f"s3_secret_{role}"),
        )
    for policy in access["policies"].values():
        assert policy["Version"] == "2012-10-17"
        for statement in policy["Statement"]:
            if statement["Action"] == ["s3:DeleteObject"]:
                assert statement["Resource"] == ["arn:aws:s3:::state/jobs/*/chunks/*"]
            assert "*" not in statement["Action"]


def test_the_command_line_sees_the_services_from_outside(home: Home, record: StackRecord) -> None:
    settings = write_own_settings(home, record, outside(record, "172.18.0.2"))
    assert settings.mode == "docker"
    assert settings.s3.endpoint == "127.0.0.1:20001"
    assert "@172.18.0.2:6379/" in settings.ledger_url
    assert settings.flower_url.endswith("@127.0.0.1:20002")


def container(service: str = "preprocess", restarts: int = 0, **state: Any) -> dict[str, Any]:
    label = {"com.docker.compose.service": service}
    return {"Config": {"Labels": label}, "RestartCount": restarts, "State": {"Error": "", **state}}


@pytest.mark.parametrize(
    ("found", "well", "ill"),
    [
        (container(Status="running", Health={"Status": "healthy"}), True, False),
        (container(Status="running", Health={"Status": "starting"}), False, False),
        (container(Status="running", Health={"Status": "unhealthy"}), False, True),
        (container(Status="restarting", restarts=3, Health={"Status": "starting"}), False, True),
        (container(Status="exited", ExitCode=0), False, True),
        (container(Status="created", Error="could not select device driver"), False, True),
        (container("setup", Status="running", ExitCode=0), False, False),
        (container("setup", Status="exited", ExitCode=0), True, False),
        (container("setup", Status="exited", ExitCode=1), False, True),
    ],
)
def test_what_is_well_and_what_will_never_be(found: dict[str, Any], well: bool, ill: bool) -> None:
    assert (is_well(found), is_ill(found)) == (well, ill)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('could not select device driver "nvidia" with capabilities: [[gpu]]', "no_gpu"),
        ("manifest for redis:none not found: manifest unknown", "image_not_pulled"),
        ("Bind for 127.0.0.1:9000 failed: port is already allocated", "port_taken"),
        ("bind source path does not exist: /h/secrets/store_user", "no_secret"),
        ("something else", "docker_failed"),
    ],
)
def test_what_docker_says_becomes_one_line(line: str, code: str) -> None:
    error = failure("up", ["Network x Created", f"Error response from daemon: {line}"])
    assert error.code == code
    assert line in error.message
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("#11 [setup engines 2/2] RUN pip install --quiet", True),
        ("#11 2.250 WARNING: Retrying (Retry(total=4))", True),
        ("Container headrace-redis-1  Healthy", True),
        ("#1 [setup internal] load build definition from Dockerfile", False),
        ("#16 [setup inference 4/5] COPY producer producer", False),
        ("#18 [flower] exporting to image", False),
        ("#9 CACHED", False),
        ("#9 DONE 0.1s", False),
    ],
)
def test_of_a_build_is_told_what_takes_time_and_what_goes_wrong(line: str, told: bool) -> None:
    assert (NOISE.search(line) is None) == told


def test_without_an_engine_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Home
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for action in (
        lambda: down(home.root),
        lambda: scale(home.root, "preprocess", 2, lambda _: None),
        lambda: Compose(home).containers(),
    ):
        with pytest.raises(HeadraceError, match="There is no 'docker' command") as caught:
            action()
        assert caught.value.code == "no_engine"


def test_what_was_never_started_is_down(tmp_path: Path) -> None:
    home = prepare_home(tmp_path / "home")  # as an `up` leaves it that failed at once
    told: list[str] = []
    down(home.root, told.append)
    assert told == []


def test_a_profile_has_a_home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    monkeypatch.delenv("HEADRACE_PROFILE", raising=False)
    assert default_home() == tmp_path
    monkeypatch.setenv("HEADRACE_PROFILE", "docker")
    assert default_home() == tmp_path / "docker"
    monkeypatch.setenv("HEADRACE_PROFILE", "podman")
    with pytest.raises(UsageError, match="no profile 'podman'"):
        default_home()


def redis_at(address: str) -> dict[str, Any]:
    return {
        "Config": {"Labels": {"com.docker.compose.service": "redis"}},
        "NetworkSettings": {"Networks": {"broker": {"IPAddress": address}}},
    }


@pytest.mark.parametrize(
    ("containers", "expected"),
    [
        ([redis_at("127.8.8.8")], "127.8.8.8"),
        ([redis_at("")], "127.9.9.9"),  # it starts just now
        ([], "127.9.9.9"),
    ],
)
def test_commands_find_the_broker_where_docker_has_put_it(
    home: Home,
    record: StackRecord,
    monkeypatch: pytest.MonkeyPatch,
    containers: list[dict[str, Any]],
    expected: str,
) -> None:
    save_record(home, record)
    write_own_settings(home, record, outside(record, "127.9.9.9"))  # where nobody listens
    monkeypatch.setattr(Compose, "containers", lambda _: containers)
    broker_place.refresh_broker_address(home.root)
    settings = load_settings(home.root)
    assert urlsplit(settings.ledger_url).hostname == expected
    assert urlsplit(settings.broker_url).hostname == expected


def test_a_broker_that_listens_is_not_looked_for(
    home: Home, record: StackRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_own_settings(home, record, outside(record, "127.0.0.1"))
    monkeypatch.setattr(broker_place, "_listens", lambda address: address == "127.0.0.1")
    monkeypatch.setattr(Compose, "containers", lambda _: pytest.fail("Docker was asked"))
    broker_place.refresh_broker_address(home.root)


def test_no_broker_is_looked_for_where_none_was_ever_started(tmp_path: Path) -> None:
    broker_place.refresh_broker_address(tmp_path / "nothing")
