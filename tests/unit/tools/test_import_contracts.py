"""The contracts over imports name every package of a stage: one left out would go unchecked."""

from __future__ import annotations

import tomllib

import pytest

from producer.stack.roles import working_roles
from shared.settings import PROJECT_ROOT

CONTRACTS = {
    contract["name"]: contract
    for contract in tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["tool"][
        "importlinter"
    ]["contracts"]
}


@pytest.mark.parametrize(
    ("contract", "field"),
    [
        ("The stages do not know each other", "modules"),
        ("What surrounds the stages does not know them", "forbidden_modules"),
    ],
)
def test_a_contract_is_about_the_packages_of_all_stages(contract: str, field: str) -> None:
    packages = {role.module for role in working_roles() if role.stages}
    assert set(CONTRACTS[contract][field]) == packages
