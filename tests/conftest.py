"""What tests of several tiers stand on: the real photos beside the project, and a real stack."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.injection.places import Places
from tests.support.pulled_models import PulledModels
from tests.support.rabbitmq_server import RabbitServer, start_rabbitmq
from tests.support.servers import BROKER
from tests.support.shape_class import PLUGIN
from tests.support.stack import Stack
from tests.support.tls import Authority, make_authority

PROJECT_ROOT = Path(__file__).resolve().parent.parent


def shared_data_directory() -> Path:
    """``$HEADRACE_SHARED_DATA``, or ``shared/data`` beside the project."""
    configured = os.environ.get("HEADRACE_SHARED_DATA")
    return Path(configured) if configured else PROJECT_ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real files; the test skips where it is absent."""
    directory = shared_data_directory()
    if not directory.is_dir():
        pytest.skip(f"no real files in {directory} ($HEADRACE_SHARED_DATA names another place)")
    return directory


@pytest.fixture(scope="session")
def photos(shared_data: Path) -> list[Path]:
    """Real JPEG photos, in the order of their names."""
    return sorted((shared_data / "photos").glob("*.jpg"))


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that signs our servers' certificates."""
    return make_authority(tmp_path_factory.mktemp("tls") / "own")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that signed none of them."""
    return make_authority(tmp_path_factory.mktemp("tls") / "stranger")


@pytest.fixture(scope="session")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """One RabbitMQ; a test that takes it away brings it back."""
    server = start_rabbitmq(tmp_path_factory.mktemp("rabbitmq") / "server")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def rabbit_url(request: pytest.FixtureRequest) -> str | None:
    """Where ``$TEST_BROKER`` asks for RabbitMQ: its address."""
    return str(request.getfixturevalue("rabbit").url) if BROKER == "rabbitmq" else None


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """The places in the processes of ``stack`` at which a test may strike."""
    return Places(tmp_path_factory.mktemp("places"))


@pytest.fixture(scope="session")
def pulled(tmp_path_factory: pytest.TempPathFactory) -> PulledModels:
    """What has been pulled, by whichever process of this run."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    return PulledModels(shared / "pulled")


@pytest.fixture(scope="session")
def stack(
    tmp_path_factory: pytest.TempPathFactory, places: Places, pulled: PulledModels
) -> Iterator[Stack]:
    """One stack that is up, with the model of ``classify``; its home has a space and a per cent."""
    base = tmp_path_factory.mktemp("stack")
    plugins = base / "plugins"
    plugins.mkdir()
    (plugins / "shape.py").write_text(PLUGIN)
    environment = {
        "HEADRACE_PLUGINS": str(plugins),
        "HEADRACE_STORES_FILE": str(base / "stores.yaml"),
        **places.environment,
    }
    stack = Stack(base / "a home at 100%", environment)
    try:
        stack.run("up")
        pulled.give(stack, "mobilenet_v2")
        yield stack
    finally:
        stack.run("down", check=False)


@pytest.fixture(scope="session")
def catalogue(stack: Stack) -> str:
    """The pipeline of that name, with the detector that it needs besides."""
    stack.run("models", "pull", "ssd_mobilenet_v3", timeout=300)
    return "catalogue"


@pytest.fixture(scope="session")
def plugins(stack: Stack) -> Path:
    """The folder of plugins that the workers see."""
    return Path(stack.environment["HEADRACE_PLUGINS"])
