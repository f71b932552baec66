"""Models of a stack's bucket, where there may be no stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from producer.models.in_bucket import StackModels
from shared.catalog import validate_file
from shared.errors import UsageError


@pytest.fixture
def no_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StackModels:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    monkeypatch.delenv("HEADRACE_SETTINGS_FILE", raising=False)
    return StackModels()


def test_without_a_stack_there_are_none(no_stack: StackModels) -> None:
    assert no_stack.find("cats", None) is None
    assert no_stack.names() is None


def test_a_file_that_names_one_says_that_a_stack_is_needed(
    no_stack: StackModels, tmp_path: Path
) -> None:
    file = tmp_path / "cats.yaml"
    file.write_text("model: cats\n")
    with pytest.raises(UsageError, match=r"If you added it, start the stack .*: headrace up\."):
        validate_file(file, models=no_stack)


def test_broken_settings_are_not_hidden(no_stack: StackModels, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(UsageError, match="Cannot read"):
        no_stack.names()
