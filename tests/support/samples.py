"""Valid messages and settings for tests to start from and to spoil."""

from __future__ import annotations

from pathlib import Path

from shared.messages import Batch, Chunk, Item, Result, ResultItem, Slot, StagedItem, Timings
from shared.pipeline import Model, Pipeline
from shared.settings import SETTINGS_FILE, RingSettings, S3Settings, Settings
from shared.stages import PREPROCESS, QueueInfo, queue_name

INCARNATION = "1" * 16
JOB_UID = "2" * 16
FIRST_QUEUE = QueueInfo(queue_name(PREPROCESS), PREPROCESS, "bulk")


def pipeline(**changes: object) -> Pipeline:
    """A pipeline with a model that nobody loads."""
    model = Model(name="tiny", sha256="a" * 64, architecture="mobilenet_v3_small")
    return Pipeline.model_validate({"name": "classify", "model": model, **changes})


def class_model(python_class: str, **changes: object) -> Model:
    """A model that is a user's class, whose code nobody has packed."""
    hashes = {"sha256": "a" * 64, "code_sha256": "b" * 64}
    fields = {"name": "own", "python_class": python_class, **hashes}
    return Model.model_validate({**fields, **changes})


def _begin(chunk: int, attempt: int) -> dict[str, object]:
    return {
        "incarnation": INCARNATION,
        "job_id": "job",
        "job_uid": JOB_UID,
        "chunk": chunk,
        "attempt": attempt,
        "pipeline": pipeline(),
    }


def chunk(chunk: int = 0, attempt: int = 1) -> Chunk:
    """A chunk of one image."""
    items = [Item(key="a.jpg", etag="e", size=1)]
    return Chunk.model_validate({**_begin(chunk, attempt), "bucket": "photos", "items": items})


def batch(chunk: int = 0, attempt: int = 1) -> Batch:
    """A batch of one image of 64 by 64 pixels, in the third, large slot of the settings' ring."""
    small = pipeline(preprocess={"resize_shorter_pixels": 64, "crop_pixels": 64})
    return Batch.model_validate(
        {
            **_begin(chunk, attempt),
            "pipeline": small,
            "bucket": "photos",
            "items": [StagedItem(item=Item(key="a.jpg", etag="e", size=1), width=9, height=9)],
            "staged": Slot(host_id="testhost", index=2, images=1),
            "timings": Timings(),
        }
    )


def result(chunk: int = 0, attempt: int = 1, **changes: object) -> Result:
    """A result of one image."""
    item = ResultItem(item=Item(key="a.jpg", etag="e", size=1))
    fields = {
        **_begin(chunk, attempt),
        "items": [item],
        "engine": None,
        "precision": None,
        "device": None,
        "timings": Timings(),
    }
    return Result.model_validate({**fields, **changes})


def settings(home: Path, broker_url: str = "redis://127.0.0.1:1/0") -> Settings:
    """Settings of a stack that has only a broker."""
    return Settings(
        home=home,
        host_id="testhost",
        broker_url=broker_url,
        ledger_url=broker_url,
        s3=S3Settings(endpoint="127.0.0.1:1", access_key="none", secret_key="none"),
        ring=RingSettings(directory=home / "ring", slot_bytes=(4096, 65536), slot_counts=(2, 1)),
        signing_keys=("k" * 32,),
    )


def save_settings(settings: Settings) -> None:
    """Write the settings file of a home, readable by its owner only."""
    path = settings.home / SETTINGS_FILE
    path.touch(mode=0o600)
    path.write_text(settings.model_dump_json(indent=2, exclude={"home"}))
