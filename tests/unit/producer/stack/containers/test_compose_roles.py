"""``docker-compose.yml`` serves every role of the table, and nothing else of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from producer.stack.containers.states import SETUP, role_of
from producer.stack.roles import ROLES, Role
from shared.settings import PROJECT_ROOT
from tests.support.planted_role import ROLE, plant

OTHER_STORES = {
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"),
    *("AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"),
}
MAKES_RING = "python -m shared.staging && exec "


def problems(compose: dict[str, Any]) -> Iterator[str]:
    """Where the services differ from the table."""
    services = compose["services"]
    for role in ROLES.values():
        wanted = {role.name, *([f"{role.name}-gpu"] if role.has_gpu_service else [])}
        serving = {name for name in services if role_of(name) == role.name}
        if serving != wanted:
            yield f"{role.name} has the services {sorted(serving)}, not {sorted(wanted)}"
        for name in sorted(serving & wanted):
            yield from (f"{name}: {problem}" for problem in _differences(role, services[name]))
        secret = {"file": f"${{HEADRACE_FILES}}/run/roles/{role.name}.json"}
        if compose["secrets"].get(role.name) != secret:
            yield f"{role.name} has no secret with its settings"
    modules = {SETUP: "producer.stack.containers.setup"} | {
        role.name: role.module for role in ROLES.values()
    }
    for name, service in services.items():
        if (module := _module(service)) not in (None, modules.get(role_of(name))):
            yield f"{name} runs {module}, which is no module of its role"


def _differences(role: Role, service: dict[str, Any]) -> Iterator[str]:
    if _module(service) != role.module:
        yield f"it runs {_module(service)}, not {role.module}"
    if {"source": role.name, "target": "settings"} not in service["secrets"]:
        yield "it is not given its settings"
    if set(service["networks"]) != {"broker", "store"}:
        yield "it does not reach broker and store"
    mounts = [mount["source"] for mount in service.get("volumes", [])]
    if not (("staging" in mounts) == (MAKES_RING in _command(service)) == role.uses_ring):
        yield "the ring is not as its row says"
    given = OTHER_STORES & set(service.get("environment", {}))
    if given != (OTHER_STORES if role.uses_other_stores else set()):
        yield "the credentials of other stores are not as its row says"


def _command(service: dict[str, Any]) -> str:
    command = service.get("command", "")
    return command if isinstance(command, str) else " ".join(command)


def _module(service: dict[str, Any]) -> str | None:
    """Our module that a service runs, after making the ring if it does so."""
    found = re.search(r"python -m ([\w.]+)", _command(service).replace(MAKES_RING, ""))
    return found and found[1]


@pytest.fixture
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((PROJECT_ROOT / "docker-compose.yml").read_text()))


def test_the_services_are_those_of_the_table(compose: dict[str, Any]) -> None:
    assert list(problems(compose)) == []


def test_a_role_without_a_service_is_noticed(
    compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    assert list(problems(compose)) == [
        f"{ROLE.name} has the services [], not ['painter', 'painter-gpu']",
        f"{ROLE.name} has no secret with its settings",
    ]


@pytest.mark.parametrize(
    ("service", "change", "problem"),
    [
        ("collector", {"command": ["python", "-m", "workers.nothing"]}, "not workers.collector"),
        ("collector", {"secrets": ["producer"]}, "not given its settings"),
        ("collector", {"networks": ["store"]}, "does not reach"),
        ("inference-gpu", {"volumes": []}, "the ring"),
        ("inference", {"command": ["python", "-m", "workers.inference"]}, "the ring"),
        ("producer", {"environment": {"AWS_REGION": None}}, "other stores"),
        ("collector", {"environment": {"AWS_ACCESS_KEY_ID": None}}, "other stores"),
        ("redis", {"command": "python -m workers.collector"}, "no module of its role"),
        ("collector-gpu", {"command": "python -m workers.collector"}, "not ['collector']"),
    ],
)
def test_a_service_that_differs_is_noticed(
    compose: dict[str, Any], service: str, change: dict[str, Any], problem: str
) -> None:
    compose["services"][service] = {**compose["services"].get(service, {}), **change}
    assert any(problem in found for found in problems(compose))
