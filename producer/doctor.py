"""Looking at everything that has to be well, one thing at a time."""

from __future__ import annotations

import platform
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import redis
from pydantic import BaseModel

from producer.info import masked_url, process_rows
from producer.models import list_models
from producer.stack.home import find_home
from producer.stack.readiness import answers_http
from producer.stack.ring import plan_ring
from shared import ledger as ledgers
from shared import rabbitmq
from shared.broker_errors import why
from shared.errors import HeadraceError, UsageError
from shared.profile import uses_docker
from shared.redis_client import redis_client
from shared.settings import Settings, default_home, load_settings
from shared.staging import Layout
from shared.storage import resolve_store

FREE_BYTES = 2 << 30
MAX_SKEW_SECONDS = 2.0
MIN_PYTHON = (3, 11)


class Check(BaseModel):
    """One thing that was looked at. ``fix`` says what to do unless it is ``ok``."""

    name: str
    state: Literal["ok", "warning", "failed"]
    detail: str
    fix: str = ""


def examine() -> Iterator[Check]:
    """Every check, one after the other; those of a stack only where one is up."""
    home = default_home()
    yield _python()
    yield _disk(home)
    try:
        settings = load_settings(home)
    except UsageError as error:
        yield _guarded("ring", lambda: _room_for_ring(home))
        yield _not_up(error.message)
        return
    processes = process_rows(lambda _: None, home)
    if not processes and (settings.mode == "local" or uses_docker()):
        yield _guarded("ring", lambda: _room_for_ring(home))
        yield _not_up(f"The stack in {home} is not up.")
        return
    if not uses_docker():  # the ring of containers is out of our sight
        yield _guarded("ring", lambda: _ring(settings))
    yield _guarded("broker", lambda: _broker(settings))
    yield _guarded("ledger", lambda: _ledger(settings))
    yield _guarded("late", lambda: _late(settings))
    yield _guarded("clock", lambda: _clock(settings))
    yield _guarded("store", lambda: _store(settings))
    yield _guarded("roles", lambda: _roles(settings))
    for process in processes:
        if process.state not in ("running", "elsewhere"):
            yield Check(
                name=process.name,
                state="failed",
                detail=f"The process is {process.state}.",
                fix=f"See 'headrace logs {process.name}', then 'headrace restart {process.name}'.",
            )
    if settings.flower_url:
        yield _guarded("flower", lambda: _flower(settings))
    yield from _models(settings)


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except HeadraceError as error:
        return Check(name=name, state="failed", detail=error.message, fix=error.hint)
    except redis.RedisError as error:
        return Check(
            name=name,
            state="failed",
            detail=f"It does not answer ({why(error)}).",
            fix="See 'headrace ps' and 'headrace logs valkey'.",
        )


def _check(
    name: str, well: bool, detail: str, fix: str, otherwise: Literal["warning", "failed"] = "failed"
) -> Check:
    if well:
        return Check(name=name, state="ok", detail=detail)
    return Check(name=name, state=otherwise, detail=detail, fix=fix)


def _python() -> Check:
    return _check(
        "python",
        sys.version_info[:2] >= MIN_PYTHON,
        f"Python {platform.python_version()} on {platform.system()} {platform.machine()}.",
        "Take Python 3.11 or later: make install PYTHON=python3.11.",
    )


def _disk(home: Path) -> Check:
    place = next(path for path in (home, *home.parents) if path.exists())
    free_bytes = shutil.disk_usage(place).free
    return _check(
        "disk",
        free_bytes >= FREE_BYTES,
        f"{free_bytes / 1e9:.1f} GB are free for {home}.",
        "Free 2 GB, or set HEADRACE_HOME to a folder on another disk.",
    )


def _not_up(detail: str) -> Check:
    return Check(name="stack", state="warning", detail=detail, fix="Run 'headrace up'.")


def _room_for_ring(home: Path) -> Check:
    said: list[str] = []
    ring = plan_ring(find_home(home), said.append)
    size = f"{sum(ring.slot_counts)} slots have room in {ring.directory}."
    return Check(name="ring", state="warning" if said else "ok", detail=" ".join([*said, size]))


def _ring(settings: Settings) -> Check:
    layout = Layout.of(settings.ring)
    size = f"{len(layout.places)} slots, {layout.total_bytes >> 20} MiB in {layout.directory}."
    pixels = layout.pixels_path
    if not pixels.exists() or pixels.stat().st_size != layout.total_bytes:
        fix = "Run 'headrace down' and 'headrace up'."
        return Check(name="ring", state="failed", detail=f"Not there: {size}", fix=fix)
    if pixels.stat().st_blocks * 512 < layout.total_bytes:
        fix = "Run 'headrace down', free space there, and run 'headrace up'."
        return Check(name="ring", state="failed", detail=f"Not fully allocated: {size}", fix=fix)
    return Check(name="ring", state="ok", detail=size)


def _broker(settings: Settings) -> Check:
    if rabbitmq.speaks_amqp(settings.broker_url):
        answers = f"{rabbitmq.answering(settings)} answers."
    else:
        redis_client(settings.broker_url, settings.ca_file, timeout_seconds=3).ping()
        answers = "It answers."
    return Check(name="broker", state="ok", detail=answers)


def _ledger(settings: Settings) -> Check:
    incarnation = ledgers.connect(settings).incarnation()
    if incarnation is None:
        return _check(
            "ledger",
            False,
            "It is empty: no producer has begun it.",
            "See 'headrace logs producer'.",
            "warning",
        )
    return Check(name="ledger", state="ok", detail=f"It answers; incarnation {incarnation}.")


def _late(settings: Settings) -> Check:
    """Nothing wrong in itself: what is rescued leaves late messages behind."""
    counts = ledgers.connect(settings).stale_counts()
    by_reason = ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))
    what = f"{sum(counts.values())} messages and moves came too late and were dropped"
    detail = f"{what} ({by_reason})." if counts else "None was dropped."
    return Check(name="late", state="ok", detail=detail)


def _clock(settings: Settings) -> Check:
    ledger: Any = redis_client(settings.ledger_url, settings.ca_file, timeout_seconds=3)
    ledger.ping()  # else the time that connecting takes would count
    before = time.time()
    seconds, microseconds = ledger.time()
    here = (before + time.time()) / 2
    skew_seconds = here - (seconds + microseconds / 1e6)
    return _check(
        "clock",
        abs(skew_seconds) <= MAX_SKEW_SECONDS,
        f"{abs(skew_seconds):.3f} s apart from the ledger's.",
        "Set both clocks, for instance by NTP.",
    )


def _store(settings: Settings) -> Check:
    bucket = settings.state_bucket
    store = resolve_store(settings, bucket)
    key, data = f"doctor/{secrets.token_hex(8)}", secrets.token_bytes(16)
    store.put(bucket, key, data)
    well = store.get(bucket, key) == data
    store.delete(bucket, key)
    does = "takes and gives objects" if well else "gave other bytes than it took"
    detail = f"{settings.s3.endpoint} {does}."
    return _check("store", well, detail, "See 'headrace logs seaweedfs'.")


def _roles(settings: Settings) -> Check:
    alive = {worker.role for worker in ledgers.connect(settings).workers()}
    missing = [r for r in ("producer", "preprocess", "inference", "collector") if r not in alive]
    detail = f"No live {', '.join(missing)}." if missing else "Every role is alive."
    return _check("roles", not missing, detail, f"See 'headrace logs {''.join(missing[:1])}'.")


def _flower(settings: Settings) -> Check:
    well = answers_http(settings.flower_url)
    does = "answers" if well else "does not answer"
    fix = "Run 'headrace restart flower'."
    return _check("flower", well, f"{masked_url(settings.flower_url)} {does}.", fix)


def _models(settings: Settings) -> Iterator[Check]:
    try:
        models = list_models(resolve_store(settings, settings.models_bucket), settings)
    except HeadraceError as error:
        yield Check(name="models", state="failed", detail=error.message, fix=error.hint)
        return
    for model in models:
        detail = "It is ready." if model.pulled else "It is not in the models bucket."
        fix = f"Run 'headrace models pull {model.name}'."
        yield _check(f"model {model.name}", model.pulled, detail, fix, "warning")
