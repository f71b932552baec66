"""What the documents name is there: files, folders, modules to run, and pages that they link to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.settings import PROJECT_ROOT

DOCUMENTS = [
    *(PROJECT_ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")),
    *sorted((PROJECT_ROOT / "docs").glob("*.md")),
]
PRODUCT = ("producer", "workers", "shared")
FOLDERS = (*PRODUCT, "tests", "tools", "benchmarks", "examples", "config", "docs", "requirements")
TIERS = tuple(path.name for path in (PROJECT_ROOT / "tests").iterdir() if path.is_dir())
# Packages of others that the documents run with ``python -m``.
FOREIGN = {"pytest"}
IN_BACKTICKS = re.compile(r"`([^`\n]+)`")
SOURCE_FILE = re.compile(r"\w+\.(py|lua)")
MODULE = re.compile(rf"({'|'.join(PRODUCT)})(\.\w+)+")
RUN = re.compile(r"python3? -m ([\w.]+)")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def exists(path: str, below: Path = PROJECT_ROOT) -> bool:
    """Whether there is such a path; a word in capitals, as in ``workers/ROLE``, is any name."""
    return any(below.glob(re.sub(r"\b[A-Z]+\b", "*", path.rstrip("/"))))


def is_module(name: str) -> bool:
    path = name.replace(".", "/")
    return exists(f"{path}.py") or exists(f"{path}/__init__.py")


def can_be_run(name: str) -> bool:
    path = name.replace(".", "/")
    return name in FOREIGN or exists(f"{path}.py") or exists(f"{path}/__main__.py")


def names_a_file(words: str) -> bool:
    """Whether what stands in backticks is meant as a path of the repository, and it is there."""
    first, _, rest = words.partition("/")
    if rest and first in TIERS:  # docs/THREATS.md leaves out "tests/"
        return exists(words, PROJECT_ROOT / "tests")
    return exists(words)


def missing(document: Path) -> Iterator[str]:
    """What a document names and nobody finds."""
    text = document.read_text()
    for words in IN_BACKTICKS.findall(text):
        first, _, _ = words.partition("/")
        if "/" in words and " " not in words and first in {*FOLDERS, *TIERS}:
            found = names_a_file(words)
        elif SOURCE_FILE.fullmatch(words):
            found = any(exists(f"{folder}/**/{words}") for folder in FOLDERS)
        elif MODULE.fullmatch(words):
            found = is_module(words)
        else:
            continue
        if not found:
            yield words
    yield from (f"python -m {name}" for name in RUN.findall(text) if not can_be_run(name))
    yield from (link for link in LINK.findall(text) if not exists(link, document.parent))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_names_is_there(document: Path) -> None:
    assert sorted(missing(document)) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("`producer/gone`", ["producer/gone"]),
        ("`unit/test_gone.py`", ["unit/test_gone.py"]),
        ("`gone.py`, called by `lanes.py`", ["gone.py"]),
        ("`shared.gone`", ["shared.gone"]),
        ("python -m producer.role", ["python -m producer.role"]),
        ("python -m shared.storage", ["python -m shared.storage"]),  # a package with no __main__
        ("[x](docs/GONE.md#part)", ["docs/GONE.md"]),
        ("`workers/ROLE/gone.py`", ["workers/ROLE/gone.py"]),
        ("`python -m workers.ROLE.suspect_child`, `workers/ROLE/stage.py`", []),
        ("`s3://photos/a`, `jobs/JOB/spec.json`, `shared/broker/`, `workers.collector`", []),
    ],
)
def test_what_is_missing_is_found(tmp_path: Path, text: str, names: list[str]) -> None:
    document = tmp_path / "A.md"
    document.write_text(text)
    assert list(missing(document)) == names
