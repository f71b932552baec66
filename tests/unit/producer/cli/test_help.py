"""Every command explains itself with an example; every answer in JSON has a schema that is true."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from producer.cli import models
from producer.cli.answers import ANSWERS
from producer.cli.app import app
from producer.cli.exits import run
from tools import schemas
from workers.inference.layouts import LAYOUTS


def leaves(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield words, command
        return
    for name, below in inner.items():
        yield from leaves(below, (*words, name))


COMMANDS = dict(leaves(typer.main.get_command(app)))


def test_the_commands_are_those_of_the_contract() -> None:
    assert {" ".join(words) for words in COMMANDS} == {
        *("up", "down", "ps", "logs", "scale", "restart", "info", "doctor"),
        *(
            "upload",
            "enqueue",
            "status",
            "wait",
            "jobs",
            "resume",
            "cancel",
            "retry",
            "rm",
            "prune",
        ),
        *("results", "errors", "similar", "styles", "try"),
        *("dead-letters list", "dead-letters show", "dead-letters replay", "dead-letters purge"),
        *("models add", "models list", "models pull", "models push", "models rm", "models show"),
        *("pipelines list", "pipelines new", "pipelines show", "pipelines validate"),
    }


def test_the_help_of_layout_names_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert models.LAYOUTS == LAYOUTS
    assert run(["models", "add", "--help"]) == 0
    printed = capsys.readouterr().out
    assert all(layout in printed for layout in LAYOUTS)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_has_an_example_that_is_that_command(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*words, "--help"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    _, found, examples = printed.out.partition("Example:\n")
    assert found
    for line in examples.strip().splitlines():
        assert line.strip().startswith(f"headrace {' '.join(words)}")


def test_every_command_with_json_has_a_schema() -> None:
    with_json = {
        "-".join(words)
        for words, command in COMMANDS.items()
        if any("--json" in parameter.opts for parameter in command.params)
    }
    assert with_json == set(ANSWERS)


def test_the_schemas_are_current() -> None:
    assert schemas.main(["--check"]) == 0


def test_a_stale_schema_is_noticed_and_rewritten(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(schemas, "FOLDER", tmp_path / "schemas")
    page = schemas.PAGE.read_text()
    monkeypatch.setattr(schemas, "PAGE", tmp_path / "PIPELINES.md")
    schemas.PAGE.write_text(page.replace("1 to 100 ", "1 to 99 "))
    assert schemas.main(["--check"]) == 1
    said = capsys.readouterr().err
    assert "status.json is not current" in said
    assert "PIPELINES.md is not current" in said
    assert schemas.main([]) == 0
    assert schemas.PAGE.read_text() == page
    (tmp_path / "schemas" / "left-over.json").write_text("{}")
    assert schemas.main(["--check"]) == 1
    assert schemas.main([]) == 0
    assert schemas.main(["--check"]) == 0
