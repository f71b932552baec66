"""JSON Schemas of what others may read or write: messages, job documents, ``--json`` answers.

``python -m tools.schemas`` writes ``docs/schemas/*.json``; with ``--check`` it changes nothing and
exits 1 unless they are current.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from producer.cli.answers import ANSWERS, ErrorAnswer
from shared.job import Closing, JobSpec
from shared.messages import Batch, Chunk, Result

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "schemas"
# What we take, and what we give: a field with a default is required only in the latter.
TAKEN: dict[str, Any] = {
    "message-chunk": Chunk,
    "message-batch": Batch,
    "message-result": Result,
    "job-spec": JobSpec,
    "job-closing": Closing,
}
GIVEN: dict[str, Any] = {"error": ErrorAnswer} | ANSWERS


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    wanted = schemas()
    if arguments == ["--check"]:
        stale = sorted(name for name in wanted.keys() | current().keys() if _differs(name, wanted))
        for name in stale:
            print(f"docs/schemas/{name} is not current: make schemas", file=sys.stderr)
        return 1 if stale else 0
    if arguments:
        print("usage: python -m tools.schemas [--check]", file=sys.stderr)
        return 2
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in current().keys() - wanted.keys():
        (FOLDER / name).unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text)
    return 0


def schemas() -> dict[str, str]:
    """The text of each file by its name."""
    taken = {name: _schema(shape, "validation") for name, shape in TAKEN.items()}
    given = {name: _schema(shape, "serialization") for name, shape in GIVEN.items()}
    return {
        f"{name}.json": json.dumps(schema, indent=2, sort_keys=True) + "\n"
        for name, schema in sorted((taken | given).items())
    }


def current() -> dict[str, str]:
    """The files as they are."""
    return {path.name: path.read_text() for path in FOLDER.glob("*.json")}


def _differs(name: str, wanted: dict[str, str]) -> bool:
    return current().get(name) != wanted.get(name)


def _schema(shape: Any, mode: Literal["validation", "serialization"]) -> dict[str, Any]:
    schema = TypeAdapter(shape).json_schema(mode=mode)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
