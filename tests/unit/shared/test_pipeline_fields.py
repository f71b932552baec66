"""A pipeline's field is defined once: the file, the value, ``show``, schema and page follow."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from shared.catalog import resolve, show_pipeline
from shared.catalog.files import SHORT_FILES, LongFile
from shared.pipeline import Pipeline
from tests.support.memory_store import MemoryStore
from tests.support.pets_catalog import (
    OTHER_SHA256,
    pets_catalog,
    publish_pets,
    written,
)
from tools import pipeline_reference, schemas

ROOT = Path(schemas.__file__).resolve().parents[1]

LIMITS = {
    "max_object_bytes": 1000000,
    "max_pixels": 5000000,
    "item_seconds": 2.5,
    "decode": "strict",
    "sixteen_bit": "high_byte",
}
# Every field that a pipeline with weights may set, each with another value than its default.
SHORT_SET = {
    "name": "full",
    "description": "All of it",
    "model": f"pets@{OTHER_SHA256}",
    "engine": "onnxruntime",
    "precision": "float32",
    "batch_seconds": 90,
    "preprocess": {"resize_shorter_pixels": 200, "crop_pixels": 160, **LIMITS},
    "gives": "classes",
    "postprocess": {"top_k": 3, "softmax": False},
}
FOR_CLASSES = {"model.python", "model.name", "model.args", "args", "files", "environment"}

# What these files give, with the pipeline's hash. Jobs are told apart by it: a change here makes
# every job of before another pipeline's.
FULL = (
    '{"name":"full","preprocess":{"max_object_bytes":1000000,"max_pixels":5000000,'
    '"item_seconds":2.5,"decode":"strict","sixteen_bit":"high_byte"},"batch_seconds":90.0,'
    '"form":"short","models":{"pets@'
    'cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd":{"name":"pets",'
    '"sha256":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",'
    '"architecture":"resnet18","has_graph":true,"layout":null,"python_class":null,'
    '"code_sha256":null,"files":[],'
    '"environment":[],"arguments":"{}","outputs":["scores"],"mean":[0.4,0.5,0.6],'
    '"std":[0.2,0.2,1.0]}},"analyses":{"classes":{"kind":"classes","view":{"kind":"crop",'
    '"resize_shorter_pixels":200,"crop_pixels":160},"model":"pets@'
    'cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",'
    '"engine":"onnxruntime","precision":"float32","top_k":3,"softmax":false}}}'
)
SHORT = (
    '{"name":"my","preprocess":{"max_object_bytes":67108864,"max_pixels":100000000,'
    '"item_seconds":60.0,"decode":"lenient","sixteen_bit":"scale"},"batch_seconds":600.0,'
    '"form":"short","models":{"pets":{"name":"pets",'
    '"sha256":"abababababababababababababababababababababababababababababababab",'
    '"architecture":"resnet18","has_graph":true,"layout":null,"python_class":null,'
    '"code_sha256":null,"files":[],'
    '"environment":[],"arguments":"{}","outputs":["scores"],"mean":[0.4,0.5,0.6],'
    '"std":[0.2,0.2,1.0]}},"analyses":{"classes":{"kind":"classes","view":{"kind":"crop",'
    '"resize_shorter_pixels":183,"crop_pixels":160},"model":"pets","engine":"auto",'
    '"precision":"auto","top_k":5,"softmax":true}}}'
)
FULL_SHA256 = "82c019b5c6422f5930f0b9fc770d18acade564143d2e443e4fbaeb6f42595b50"
SHORT_SHA256 = "e8ab4f692f9ea4159914c0b975f0a095a4ad4531f70ab06959d320694a48b885"


@pytest.mark.parametrize(("text", "sha256"), [(FULL, FULL_SHA256), (SHORT, SHORT_SHA256)])
def test_a_stored_pipeline_keeps_its_bytes_and_its_hash(text: str, sha256: str) -> None:
    pipeline = Pipeline.model_validate_json(text)
    assert pipeline.model_dump_json() == text
    assert pipeline.sha256 == sha256


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (yaml.safe_dump(SHORT_SET), FULL),
        ("model: pets\n", SHORT),
        ("model: pets\ngives: classes\n", SHORT),
        ("model: pets\npreprocess:\n  crop_pixels:\npostprocess: {softmax: , top_k: }\n", SHORT),
        ("model: pets\nfiles: []\nenvironment: []\nname:\ndescription:\n", SHORT),
    ],
)
def test_a_file_gives_the_pipeline_that_it_gave(tmp_path: Path, text: str, expected: str) -> None:
    catalog, store = pets_catalog(tmp_path), MemoryStore("models")
    publish_pets(store, catalog)
    path = str(written(tmp_path, text))
    pipeline = resolve(path, "models", store, catalog).pipeline
    assert pipeline.model_dump_json() == expected


def test_every_field_is_accepted_shown_and_documented(tmp_path: Path) -> None:
    fields = {f.path for f in pipeline_reference.file_fields(SHORT_FILES["classes"])}
    assert set(_paths(SHORT_SET)) == fields - FOR_CLASSES, "add the new field here, with a value"
    path = str(written(tmp_path, yaml.safe_dump(SHORT_SET)))
    values = show_pipeline(path, pets_catalog(tmp_path)).model_dump(mode="json")
    assert {**values, "model": SHORT_SET["model"]} == SHORT_SET | {
        "path": path,
        "view": {"kind": "crop", "resize_shorter_pixels": 200, "crop_pixels": 160},
        "files": [],
        "environment": [],
    }
    page, schema = schemas.PAGE.read_text(), schemas.schemas()["pipeline-file.json"]
    long = {f.path for f in pipeline_reference.file_fields(LongFile)}
    kinds = [*pipeline_reference.SECTIONS.values(), *pipeline_reference.VIEWS.values()]
    options = {f.path for kind in kinds for f in pipeline_reference.options_of(kind)}
    for field in (fields | long | options) - {"postprocess.top_k", "postprocess.softmax"}:
        assert f"| `{field}` |" in page
        assert f'"{field.rpartition(".")[2]}": {{' in schema


# Runs in a copy of the product with two fields, one kind of analysis and one of view more, and
# prints what became of them.
PLANTED = """
import json, sys
from pathlib import Path
from shared.catalog import Catalog, resolve, show_pipeline
from tests.support.memory_store import MemoryStore
from tests.support.pets_catalog import pets_catalog, publish_pets, written
from tools import pipeline_reference

folder = Path(sys.argv[1])
catalog, store = pets_catalog(folder), MemoryStore("models")
publish_pets(store, catalog)
def value(text):
    path = str(written(folder, text))
    shown = show_pipeline(path, catalog).model_dump(mode="json")
    found = resolve(path, "models", store, catalog).pipeline
    return shown, found.model_dump(mode="json")
print(json.dumps({
    "short": value("model: pets\\nhaste: 2.5\\npostprocess: {rank: 4}\\n"),
    "long": value(
        "analyses:\\n  own: {kind: outline, model: pets, depth: 4,"
        " view: {kind: round, across: 160}}\\n"
    ),
    "gives": value("model: pets\\ngives: outline\\npostprocess: {depth: 5}\\n"),
    "schema": pipeline_reference.file_schema(),
    "table": pipeline_reference.table(),
}))
"""
KIND = '''
from typing import ClassVar, Literal
from pydantic import Field
from shared.analyses.base import NetworkAnalysis

class Outline(NetworkAnalysis):
    """An outline."""

    reads: ClassVar[tuple[str, ...]] = ("features",)
    kind: Literal["outline"] = "outline"
    depth: int = Field(2, ge=1, le=7, description="How deep it goes.")
'''
VIEW = '''
from typing import Literal
from pydantic import Field
from shared.views.base import View

class Round(View):
    """A disc."""

    kind: Literal["round"] = "round"
    across: int = Field(description="Its diameter, in pixels.")

    @property
    def canvas(self):
        return self.across, self.across
'''


def test_a_new_field_or_kind_is_one_definition(tmp_path: Path) -> None:
    root = tmp_path / "product"
    for part in ("shared", "tools", "tests/support"):
        shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "shared/analyses/outline.py").write_text(KIND)
    (root / "shared/views/round.py").write_text(VIEW)
    _plant(
        root / "shared/analyses/classes.py",
        "    top_k: int = Field(",
        'rank: int = Field(3, ge=1, le=9, description="A rank.")',
    )
    _plant(
        root / "shared/pipeline.py",
        "    batch_seconds: DeadlineSeconds = Field(",
        'haste: float = Field(1.5, ge=0.5, le=8, description="A factor.")',
    )
    command = [sys.executable, "-W", "ignore", "-c", PLANTED, str(tmp_path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    shown, value = found["short"]
    assert (shown["haste"], shown["postprocess"]["rank"]) == (2.5, 4)
    assert (value["haste"], value["analyses"]["classes"]["rank"]) == (2.5, 4)
    for form in found["long"]:
        assert form["analyses"]["own"]["depth"] == 4
        assert form["analyses"]["own"]["view"] == {"kind": "round", "across": 160}
    shown, value = found["gives"]
    assert shown["postprocess"] == {"depth": 5}
    assert value["analyses"]["outline"]["depth"] == 5
    assert value["models"]["pets"]["outputs"] == ["features"]
    definitions, table = found["schema"]["$defs"], found["table"]
    assert definitions["LongFile"]["properties"]["haste"]["maximum"] == 8
    assert definitions["ClassesOptions"]["properties"]["rank"]["default"] == 3
    assert definitions["OutlineSection"]["properties"]["depth"]["maximum"] == 7
    assert "| `haste` | number, 0.5 to 8 | `1.5` | A factor. |" in table
    assert "| `rank` | integer, 1 to 9 | `3` | A rank. |" in table
    assert "| `depth` | integer, 1 to 7 | `2` | How deep it goes. |" in table
    assert "| `across` | integer | required | Its diameter, in pixels. |" in table


def _plant(path: Path, before: str, planted: str) -> None:
    source = path.read_text()
    assert source.count(before) == 1, before
    path.write_text(source.replace(before, f"    {planted}\n{before}"))


def _paths(values: dict[str, object], above: str = "") -> list[str]:
    found: list[str] = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += _paths(value, f"{above}{name}.")
        else:
            found.append(above + name)
    return found
