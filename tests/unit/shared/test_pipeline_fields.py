"""A pipeline's field is defined once: the file, the value, ``show``, schema and page follow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from shared.catalog import resolve, show_pipeline
from shared.pipeline import Pipeline
from tests.support.memory_store import MemoryStore
from tests.support.pets_catalog import (
    OTHER_SHA256,
    pets_catalog,
    publish_pets,
    stack_settings,
    written,
)
from tools import pipeline_reference, schemas

ROOT = Path(schemas.__file__).resolve().parents[1]

# Every field that a pipeline with weights may set, each with another value than its default.
SET = {
    "name": "full",
    "description": "All of it",
    "model": f"pets@{OTHER_SHA256}",
    "engine": "onnxruntime",
    "precision": "float32",
    "batch_seconds": 90,
    "preprocess": {
        "resize_shorter_pixels": 200,
        "crop_pixels": 160,
        "max_object_bytes": 1000000,
        "max_pixels": 5000000,
        "item_seconds": 2.5,
        "decode": "strict",
        "sixteen_bit": "high_byte",
    },
    "postprocess": {"top_k": 3, "softmax": False},
}

# What these files gave in the version before this test was written, with the pipeline's hash.
# Jobs are told apart by it: a change here makes every job of before another pipeline's.
FULL = (
    '{"name":"full","preprocess":{"resize_shorter_pixels":200,"crop_pixels":160,'
    '"max_object_bytes":1000000,"max_pixels":5000000,"item_seconds":2.5,"decode":"strict",'
    '"sixteen_bit":"high_byte"},"model":{"name":"pets",'
    '"sha256":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",'
    '"architecture":"resnet18","python_class":null,"code_sha256":null,"files":[],"environment":[],'
    '"mean":[0.4,0.5,0.6],"std":[0.2,0.2,1.0]},"engine":"onnxruntime","precision":"float32",'
    '"batch_seconds":90.0,"postprocess":{"top_k":3,"softmax":false}}'
)
FULL_SHA256 = "d05a059ac6d95405f9a5d89189d49582ae3c8421ebeab8455311214645ab379e"
SHORT = (
    '{"name":"my","preprocess":{"resize_shorter_pixels":183,"crop_pixels":160,'
    '"max_object_bytes":67108864,"max_pixels":100000000,"item_seconds":60.0,"decode":"lenient",'
    '"sixteen_bit":"scale"},"model":{"name":"pets",'
    '"sha256":"abababababababababababababababababababababababababababababababab",'
    '"architecture":"resnet18","python_class":null,"code_sha256":null,"files":[],"environment":[],'
    '"mean":[0.4,0.5,0.6],"std":[0.2,0.2,1.0]},"engine":"auto","precision":"auto",'
    '"batch_seconds":600.0,"postprocess":{"top_k":5,"softmax":true}}'
)
SHORT_SHA256 = "19bf30bb9f0fdacd3fe5ab78d8bb6971121d8d9b54a9c1a5cc332cd669a9cd04"
OWN_CLASS = (
    '{"name":"my","preprocess":{"resize_shorter_pixels":343,"crop_pixels":300,'
    '"max_object_bytes":67108864,"max_pixels":100000000,"item_seconds":60.0,"decode":"lenient",'
    '"sixteen_bit":"scale"},"model":{"name":"own",'
    '"sha256":"5b9e7e17b558bba9c4f025c9c182b884726de880cd001430bafba0ca8c892aed",'
    '"architecture":null,"python_class":"own:Own",'
    '"code_sha256":"fb91ef33a4d32ee3152e32702fb10bff2290bb75312a7706bbcdabea97c8b0be",'
    '"files":[{"name":"labels.txt",'
    '"sha256":"175cc6f362b2f75acd08a373e000144fdb8d14a833d4b70fd743f16a7039103f","bytes":4}],'
    '"environment":["A_TOKEN","B_TOKEN"],"mean":[0.0,0.0,0.0],"std":[1.0,1.0,1.0]},'
    '"engine":"auto","precision":"auto","batch_seconds":600.0,'
    '"postprocess":{"top_k":5,"softmax":false}}'
)
OWN_CLASS_SHA256 = "437143efbd2e68747ca17c5bbf4415540fe16d4d6231acb81f7ede490739486d"


@pytest.mark.parametrize(
    ("text", "sha256"),
    [(FULL, FULL_SHA256), (SHORT, SHORT_SHA256), (OWN_CLASS, OWN_CLASS_SHA256)],
)
def test_a_stored_pipeline_keeps_its_bytes_and_its_hash(text: str, sha256: str) -> None:
    pipeline = Pipeline.model_validate_json(text)
    assert pipeline.model_dump_json() == text
    assert pipeline.sha256 == sha256


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (yaml.safe_dump(SET), FULL),
        ("model: pets\n", SHORT),
        ("model: pets\npreprocess:\n  crop_pixels:\npostprocess: {softmax: , top_k: }\n", SHORT),
        ("model: pets\nfiles: []\nenvironment: []\nname:\ndescription:\n", SHORT),
    ],
)
def test_a_file_gives_the_pipeline_that_it_gave(tmp_path: Path, text: str, expected: str) -> None:
    catalog, store = pets_catalog(tmp_path), MemoryStore("models")
    publish_pets(store, catalog)
    path = str(written(tmp_path, text))
    pipeline = resolve(path, stack_settings(tmp_path), store, catalog).pipeline
    assert pipeline.model_dump_json() == expected


def test_every_field_is_accepted_shown_and_documented(tmp_path: Path) -> None:
    fields = {field.path for field in pipeline_reference.file_fields()}
    for_classes = {"model.python", "model.name", "files", "environment"}
    assert set(_paths(SET)) == fields - for_classes, "add the new field here, with a value"
    shown = show_pipeline(str(written(tmp_path, yaml.safe_dump(SET))), pets_catalog(tmp_path))
    values = shown.model_dump(mode="json")
    assert {**values, "model": SET["model"]} == SET | {
        "path": str(tmp_path / "my.yaml"),
        "files": [],
        "environment": [],
    }
    page, schema = schemas.PAGE.read_text(), schemas.schemas()["pipeline-file.json"]
    for path in fields:
        assert f"| `{path}` |" in page
        assert f'"{path.rpartition(".")[2]}": {{' in schema


# Runs with two fields more in shared/pipeline.py, and prints what became of them.
PLANTED = """
import importlib.util, json, sys
from pathlib import Path
spec = importlib.util.find_spec("shared.pipeline")
module = importlib.util.module_from_spec(spec)
sys.modules["shared.pipeline"] = module
source = Path(spec.origin).read_text()
for before, planted in json.loads(sys.argv[1]):
    assert source.count(before) == 1, before
    source = source.replace(before, f"    {planted}\\n{before}")
exec(compile(source, spec.origin, "exec"), module.__dict__)

from shared.catalog import Catalog, resolve, show_pipeline
from tests.support.memory_store import MemoryStore
from tests.support.pets_catalog import pets_catalog, publish_pets, stack_settings, written
from tools import pipeline_reference

folder = Path(sys.argv[2])
catalog, store = pets_catalog(folder), MemoryStore("models")
publish_pets(store, catalog)
path = str(written(folder, "model: pets\\nhaste: 2.5\\npostprocess: {rank: 4}\\n"))
pipeline = resolve(path, stack_settings(folder), store, catalog).pipeline
print(json.dumps({
    "value": pipeline.model_dump(mode="json"),
    "shown": show_pipeline(path, catalog).model_dump(mode="json"),
    "schema": pipeline_reference.file_schema(),
    "table": pipeline_reference.table(),
}))
"""


def test_a_new_field_is_one_definition(tmp_path: Path) -> None:
    planted = [
        ("    top_k: int = Field(", 'rank: int = Field(3, ge=1, le=9, description="A rank.")'),
        (
            "    batch_seconds: DeadlineSeconds = Field(",
            'haste: float = Field(1.5, ge=0.5, le=8, description="A factor.")',
        ),
    ]
    command = [sys.executable, "-W", "ignore", "-c", PLANTED, json.dumps(planted), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for form in ("value", "shown"):
        assert (found[form]["haste"], found[form]["postprocess"]["rank"]) == (2.5, 4)
    assert found["schema"]["properties"]["haste"]["maximum"] == 8
    section = found["schema"]["$defs"]["PostprocessSection"]
    assert section["properties"]["rank"]["default"] == 3
    assert "| `haste` | number, 0.5 to 8 | `1.5` | A factor. |" in found["table"]
    assert "| `postprocess.rank` | integer, 1 to 9 | `3` | A rank. |" in found["table"]


def _paths(values: dict[str, object], above: str = "") -> list[str]:
    found: list[str] = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += _paths(value, f"{above}{name}.")
        else:
            found.append(above + name)
    return found
