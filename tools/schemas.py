"""JSON Schemas of what others may read or write: messages, documents of jobs, files, answers.

``python -m tools.schemas`` writes ``docs/schemas/*.json`` and the tables of ``docs/PIPELINES.md``;
with ``--check`` it changes nothing and exits 1 unless they are current.
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
from tools import pipeline_reference
from tools.marked import with_table

DOCS = Path(__file__).resolve().parents[1] / "docs"
FOLDER = DOCS / "schemas"
PAGE = DOCS / "PIPELINES.md"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
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
    if arguments not in ([], ["--check"]):
        print("usage: python -m tools.schemas [--check]", file=sys.stderr)
        return 2
    current, wanted = _current(), _wanted()
    stale = sorted(
        path for path in current.keys() | wanted.keys() if current.get(path) != wanted.get(path)
    )
    for path in stale:
        if arguments:
            print(f"{path} is not current: make schemas", file=sys.stderr)
        elif path in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path])
        else:
            path.unlink()
    return 1 if arguments and stale else 0


def schemas() -> dict[str, str]:
    """The text of each file by its name."""
    taken = {name: _schema(shape, "validation") for name, shape in TAKEN.items()}
    given = {name: _schema(shape, "serialization") for name, shape in GIVEN.items()}
    files = {"pipeline-file": {"$schema": _DIALECT, **pipeline_reference.file_schema()}}
    return {
        f"{name}.json": json.dumps(schema, indent=2, sort_keys=True) + "\n"
        for name, schema in sorted((taken | given | files).items())
    }


def _wanted() -> dict[Path, str]:
    page = with_table(PAGE.read_text(), pipeline_reference.table(), "make schemas")
    return {PAGE: page} | {FOLDER / name: text for name, text in schemas().items()}


def _current() -> dict[Path, str]:
    return {path: path.read_text() for path in (PAGE, *FOLDER.glob("*.json"))}


def _schema(shape: Any, mode: Literal["validation", "serialization"]) -> dict[str, Any]:
    schema = TypeAdapter(shape).json_schema(mode=mode)
    return {"$schema": _DIALECT, **schema}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
