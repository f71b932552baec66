"""What tests of removals share."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.catalog import Catalog
from tests.support.fake_connections import Fake, fake_connections


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return fake_connections(tmp_path)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    (tmp_path / "config" / "models").mkdir(parents=True)
    return Catalog(tmp_path / "config")
