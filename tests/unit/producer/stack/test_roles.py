"""The table of roles: everything that knows the roles knows one that a test has planted."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from producer.doctor import checks as doctor
from producer.doctor.probe.passage import ProbePosition
from producer.doctor.stalls import chunks, consumers, overdue_chunks
from producer.doctor.stalls.chunks import LIMITS
from producer.jobs import JobRequest, submit
from producer.stack.containers.files import DATA_FOLDERS, write_files
from producer.stack.containers.states import role_of, service
from producer.stack.home import Home, find_home, prepare_home
from producer.stack.local.supervisor import config_text
from producer.stack.object_rights import allow
from producer.stack.ports import HOST, port_names
from producer.stack.programs import chosen_scale, observer_programs, process_names, role_programs
from producer.stack.record import StackRecord, load_record
from producer.stack.rights.broker_users import acl_file
from producer.stack.rights.rabbitmq_users import commands, rabbitmq_rights
from producer.stack.rights.store_identities import s3_config, store_policies
from producer.stack.roles import ROLES, Role, default_scale, stop_order, working_roles
from producer.stack.settings_file import write_settings
from shared.broker import redis_queues
from shared.ledger import ChunkPlace, JobProgress, Ledger, LiveWorker
from shared.settings import PROJECT_ROOT, RingSettings
from shared.stages import PREPROCESS, RESULTS
from tests.support.fake_connections import Fake, fake_connections
from tests.support.planted_role import ROLE, plant
from tests.support.planted_stage import STAGE
from tests.support.rights import FOREIGN, MAY_AT_RABBITMQ, MAY_AT_STORE, OWN

NAME = ROLE.name
QUEUES = ("v6.drawing.interactive.host-7", "v6.drawing.bulk.host-7")
PACKAGES = ("producer", "shared", "workers")
# Where a role's name may stand beside its row, its stage's row and its own package.
ALSO_NAMED = {
    "shared/catalog": {"preprocess"},  # a field of a pipeline
}


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return prepare_home(tmp_path / "home", DATA_FOLDERS)


@pytest.fixture
def record(tmp_path: Path) -> StackRecord:
    record = load_record(find_home(tmp_path))
    names = (*port_names(), "store")
    record.ports = {name: 20_000 + number for number, name in enumerate(names)}
    record.ring = RingSettings(directory=tmp_path, slot_bytes=(1,), slot_counts=(1,))
    return record


def test_the_supervisor_runs_it_with_its_own_settings(tmp_path: Path) -> None:
    (program,) = [p for p in role_programs() if p.role == NAME]
    names = process_names(program, {NAME: 2})
    assert names == ["painter-1", "painter-2"]
    section = config_text(tmp_path, [(name, program) for name in names]).split("[program:")[-1]
    assert f"-m {ROLE.module}\n" in section
    assert 'HEADRACE_SETTINGS_FILE="run/roles/painter.json"' in section


def test_an_observer_runs_with_a_port_and_settings_of_its_own(
    tmp_path: Path, record: StackRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = Role(
        "watcher",
        module="tests.watcher",
        arguments=("--at={host}:{port}",),
        stop_seconds=7,
        is_observer=True,
    )
    monkeypatch.setitem(ROLES, watcher.name, watcher)
    assert {role.name for role in working_roles()} | {"flower", "watcher"} == set(ROLES)
    assert {"flower", "watcher"} <= set(port_names())
    record.ports["watcher"] = 30_000
    programs = {program.role: program for program in observer_programs(record)}
    assert set(programs) == {"flower", "watcher"}
    assert process_names(programs["watcher"], {}) == ["watcher"]
    section = config_text(tmp_path, [("watcher", programs["watcher"])]).split("[program:")[-1]
    assert f"-m tests.watcher --at={HOST}:30000\n" in section
    assert "stopwaitsecs=7\n" in section
    assert 'HEADRACE_SETTINGS_FILE="run/roles/watcher.json"' in section


@pytest.mark.parametrize(
    ("name", "rights"),
    [
        ("watcher", {"sends_to": (RESULTS,)}),
        ("watcher", {"discards_from": (RESULTS,)}),
        ("watcher", {"object_rights": (allow("GetObject", "{models}/*"),)}),
        (STAGE.role, {}),  # it has a stage
    ],
)
def test_an_observer_that_could_do_more_than_look_is_refused(
    name: str, rights: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=f"role {name} is an observer"):
        Role(name, module="tests.watcher", is_observer=True, **rights)


def test_it_has_a_number_of_processes_and_scales(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cores, processes in ((1, 1), (2, 1), (8, 4)):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert default_scale()[NAME] == processes
    record = load_record(find_home(tmp_path))
    assert record.scale[NAME] == 4
    assert chosen_scale(record, role_programs(), {NAME: 3})[NAME] == 3


def test_it_stops_at_its_place_in_the_flow() -> None:
    assert stop_order() == [
        ("producer", "preprocess", "flower"),
        ("inference",),
        ("collector",),
        (NAME,),
    ]


def test_it_has_a_user_at_the_broker() -> None:
    (line,) = [li for li in acl_file({NAME: "x"}).splitlines() if li.startswith(f"user {NAME} ")]
    selectors = re.findall(r"\(([^)]*)\)", line)
    (taking,) = [s.split() for s in selectors if "+brpop" in s]
    assert [key for key in taking if key[0] == "~"] == [
        "~v6.drawing.interactive.*",
        "~v6.drawing.bulk.*",
    ]
    (sending,) = [s.split() for s in selectors if s.startswith("+lpush %W~v6.")]
    assert {key for key in sending if "~" in key} == {
        f"%W~v6.{stage}.{lane}"
        for stage in ("results", "preprocess")
        for lane in ("interactive", "bulk")
    }
    assert "+get ~colours:*" in selectors
    for other in ("flower", "producer"):
        (line,) = [li for li in acl_file({other: "x"}).splitlines() if f"user {other} " in li]
        assert "%R~v6.drawing.bulk.*" in line  # they count what waits


def test_it_has_a_user_at_rabbitmq() -> None:
    lines = [shlex.split(line) for line in commands("v")]
    assert ["rabbitmqctl", "add_user", NAME] in lines
    (rights,) = [line[5:] for line in lines if line[1] == "set_permissions" and line[4] == NAME]
    configure, _, read = rights
    for queue in QUEUES:
        assert re.search(configure, queue)
        assert re.search(read, queue)
    assert re.search(configure, "v6.results.bulk")
    assert not re.search(read, "v6.results.bulk")


@pytest.mark.parametrize("role", [ROLE, ROLES["producer"]], ids=["with a stage", "without"])
def test_a_role_may_empty_the_queues_that_its_row_names(
    role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = "v6.preprocess.bulk"
    assert not re.search(rabbitmq_rights()[role.name].read, queue)
    monkeypatch.setitem(ROLES, role.name, replace(role, discards_from=(PREPROCESS,)))
    rights = rabbitmq_rights()[role.name]
    assert re.search(rights.read, queue)
    assert not re.search(rights.configure, queue) or PREPROCESS in role.sends_to
    line = acl_file({role.name: "x"})
    (emptying,) = [s for s in re.findall(r"\(([^)]*)\)", line) if s.startswith("+del %W~v6.")]
    assert "%W~v6.preprocess.bulk" in emptying


def test_it_has_an_identity_at_the_store() -> None:
    keys = {role.name: ("access", "secret") for role in working_roles()}
    assert NAME in {identity["name"] for identity in json.loads(s3_config(keys))["identities"]}
    statements = store_policies("my-state", "my-models")[NAME]["Statement"]
    assert {(s["Effect"], *s["Action"], *s["Resource"]) for s in statements} == {
        ("Allow", "s3:GetObject", "arn:aws:s3:::my-models/*"),
        ("Allow", "s3:PutObject", "arn:aws:s3:::*/pictures/*"),
        ("Allow", "s3:PutObject", f"arn:aws:s3:::my-state/quarantine/{NAME}/*"),
    }


def test_it_has_a_settings_file_with_its_own_secrets(home: Home, record: StackRecord) -> None:
    for write in (write_settings, write_files):
        write(home, record)
        own = json.loads((home.run / "roles" / f"{NAME}.json").read_text())
        assert own["broker_url"].startswith(f"redis://{NAME}:{record.secrets[f'broker_{NAME}']}@")
        assert own["s3"]["access_key"] == record.secrets[f"s3_access_{NAME}"]
    access = json.loads((home.root / "secrets" / "store_access").read_text())
    assert NAME in access["keys"].keys() & access["policies"].keys()


def test_its_service_on_a_gpu_has_a_name_of_its_own() -> None:
    assert service(NAME, on_gpu=True) == "painter-gpu"
    assert role_of("painter-gpu") == NAME
    assert service("preprocess", on_gpu=True) == "preprocess"


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    fake = fake_connections(tmp_path)
    fake.put_images("photos", "a.jpg")
    return fake


def test_doctor_misses_it(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.ledgers, "connect_ledger", lambda _: fake.ledger)
    fake.ledger.live = [LiveWorker(r, r, f"{r}-1", "host", 1, ()) for r in ROLES if r != NAME]
    check = doctor._roles(fake.connections.settings)
    assert (check.state, check.detail) == ("failed", "No live painter.")
    fake.ledger.live.append(LiveWorker(NAME, NAME, "painter-1", "host", 1, ()))
    assert doctor._roles(fake.connections.settings).ok


def test_doctor_misses_its_consumer(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    class Empty:
        connection_pool = cast(Any, type("Pool", (), {"connection_kwargs": {}}))

        def client_list(self) -> list[dict[str, str]]:
            return []

        def close(self) -> None: ...

    monkeypatch.setattr(redis_queues, "redis_client", lambda *_, **__: Empty())
    monkeypatch.setattr(consumers, "LOOK_AGAIN_AFTER", 0.0)
    fake.ledger.live = [LiveWorker(NAME, NAME, "painter-1", "host", 1, (), lease_left_seconds=9.0)]
    ledger = cast(Ledger, fake.ledger)
    found = consumers.missing_consumers(fake.connections.settings, ledger, fake.ledger.live)
    assert [finding.role for finding in found] == [NAME]


def test_a_chunk_that_it_holds_for_too_long_is_reported_where_its_stage_has_a_limit(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = JobRequest("s3://photos", str(fake.pipeline), job_id="job")
    uid = submit(fake.connections, request, fake.warnings.append).job_uid
    fake.ledger.open_jobs[uid] = JobProgress(uid, "job", 0, 1, False, {})
    limit = chunks.Limit(60.0, lambda _: 60.0)
    for limits, seconds, found in (
        ({}, 1e6, []),
        ({STAGE: limit}, 1.0, []),
        ({STAGE: limit}, 1e6, [NAME]),
    ):
        monkeypatch.setattr(chunks, "LIMITS", {**LIMITS, **limits})
        fake.ledger.held = [ChunkPlace(uid, 0, "held", STAGE, 1, "painter-1@host:7:abcd", seconds)]
        assert [finding.role for finding in overdue_chunks(fake.connections)] == found


def test_a_probe_passes_over_chunks_that_it_holds(fake: Fake) -> None:
    request = JobRequest("s3://photos", str(fake.pipeline), job_id="job")
    spec = submit(fake.connections, request, fake.warnings.append)
    fake.ledger.open_jobs["other"] = JobProgress("other", "other", 0, 1, False, {})
    fake.ledger.held = [ChunkPlace("other", 0, "held", STAGE, 1, "painter-1@host:7:abcd", 1.0)]
    assert ProbePosition(fake.connections, spec).others() == {}


@pytest.mark.parametrize("tried", [FOREIGN, OWN, MAY_AT_RABBITMQ])
def test_a_role_whose_rights_nobody_tries_is_noticed(tried: dict[str, Any]) -> None:
    assert ROLES.keys() - tried.keys() == {NAME}
    assert {role.name for role in working_roles()} - MAY_AT_STORE.keys() == {NAME}
    assert tried.keys() | MAY_AT_STORE.keys() <= ROLES.keys() | {"admin"}


@pytest.mark.parametrize("role", list(ROLES))
def test_a_role_is_named_in_its_row_and_its_own_package_only(role: str) -> None:
    own = ROLES[role].module.replace(".", "/")
    allowed = ("producer/stack/roles.py", "shared/stages.py", f"{own}/", f"{own}.py")
    also = [place for place, names in ALSO_NAMED.items() if role in names]
    named = [path for path in sources() if re.search(rf"""(["']){role}\1""", path.read_text())]
    places = [str(path.relative_to(PROJECT_ROOT)) for path in named]
    assert [place for place in places if not place.startswith((*allowed, *also))] == []


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (PROJECT_ROOT / package).rglob("*.py")


def test_the_table_can_be_printed() -> None:
    command = [sys.executable, "-m", "producer.stack.roles", "--json"]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert list(rows) == [role for role in ROLES if role != NAME]
    assert rows["preprocess"]["sends_to"] == ["inference", "results"]
    assert rows["collector"]["stages"] == ["results"]
