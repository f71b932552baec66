"""Looking at everything that has to be well, one thing at a time."""

from __future__ import annotations

import platform
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Literal

import redis
from pydantic import BaseModel

from producer import Warn
from producer.connections import connect_stack
from producer.doctor.probe import send_probe
from producer.doctor.stalls import (
    Finding,
    full_ring,
    late_messages,
    missing_consumers,
    overdue_chunks,
)
from producer.models import list_models
from producer.stack.home import find_home
from producer.stack.info import masked_url, processes
from producer.stack.local.readiness import answers_http
from producer.stack.ring import plan_ring
from producer.stack.roles import FLOWER, working_roles
from shared import ledger as ledgers
from shared.broker.errors import why
from shared.broker.queues import connect_queues
from shared.broker.redis_client import redis_client
from shared.environment import uses_docker
from shared.errors import HeadraceError, UsageError
from shared.settings import Settings, default_home, load_settings
from shared.staging import Layout
from shared.storage import resolve_store

FREE_BYTES = 2 << 30
MAX_SKEW_SECONDS = 2.0
MIN_PYTHON = (3, 11)
PROBE_STEP_SECONDS = 30.0


class Check(BaseModel):
    """One thing that was looked at. ``hint`` says what to do unless it is ``ok``.

    ``seconds``: how long the look took; of a step of the probe, how long the image took.
    """

    name: str
    ok: bool
    seconds: float = 0.0
    hint: str = ""
    state: Literal["ok", "warning", "failed"]
    detail: str


class Checks(BaseModel):
    """The answer of ``doctor``."""

    checks: list[Check]


def examine(
    warn: Warn = lambda _: None, step_seconds: float = PROBE_STEP_SECONDS
) -> Generator[Check]:
    """Every check, one after the other; those of a stack only where one is up.

    ``step_seconds``: how long the probe may stay at one step.
    """
    started = time.monotonic()
    for check in _examine(warn, step_seconds):
        check.seconds = round(check.seconds or time.monotonic() - started, 3)
        yield check
        started = time.monotonic()


def _examine(warn: Warn, step_seconds: float) -> Iterator[Check]:
    home = default_home()
    yield _python()
    yield _disk(home)
    try:
        settings = load_settings(home)
    except UsageError as error:
        yield _guarded("ring", lambda: _room_for_ring(home))
        yield _not_up(error.message)
        return
    running = processes(home)
    if not running and (settings.mode == "local" or uses_docker()):
        yield _guarded("ring", lambda: _room_for_ring(home))
        yield _not_up(f"The stack in {home} is not up.")
        return
    if not uses_docker():  # the ring of containers is out of our sight
        yield _guarded("ring", lambda: _ring(settings))
    yield (broker := _guarded("broker", lambda: _broker(settings)))
    yield (ledger := _guarded("ledger", lambda: _ledger(settings)))
    late_before = _late_counts(settings)
    yield _guarded("clock", lambda: _clock(settings))
    yield (store := _guarded("store", lambda: _store(settings)))
    yield _guarded("roles", lambda: _roles(settings))
    for process in running:
        if process.state != "running":
            hint = f"See 'headrace logs {process.name}', then 'headrace restart {process.name}'."
            yield _failed(process.name, f"The process is {process.state}.", hint)
    if settings.flower_url:
        yield _guarded(FLOWER.name, lambda: _flower(settings))
    if "failed" not in (broker.state, ledger.state, store.state):
        yield from _consumers(settings)
        yield from _chunks(settings)
        yield from _probe(settings, step_seconds, warn)
    yield _guarded("late", lambda: _late(settings, late_before))
    yield from _models(settings)


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except HeadraceError as error:
        return _failed(name, error.message, error.hint)
    except redis.RedisError as error:
        detail = f"It does not answer ({why(error)})."
        return _failed(name, detail, "See 'headrace ps' and 'headrace logs valkey'.")


def _ok(name: str, detail: str) -> Check:
    return Check(name=name, ok=True, state="ok", detail=detail)


def _failed(name: str, detail: str, hint: str) -> Check:
    return Check(name=name, ok=False, state="failed", detail=detail, hint=hint)


def _warning(name: str, detail: str, hint: str) -> Check:
    return Check(name=name, ok=False, state="warning", detail=detail, hint=hint)


def _check(name: str, well: bool, detail: str, hint: str) -> Check:
    return _ok(name, detail) if well else _failed(name, detail, hint)


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
    return _warning("stack", detail, "Run 'headrace up'.")


def _room_for_ring(home: Path) -> Check:
    said: list[str] = []
    ring = plan_ring(find_home(home), said.append)
    size = f"{sum(ring.slot_counts)} slots have room in {ring.directory}."
    if said:
        return _warning("ring", " ".join([*said, size]), "Free space there for a faster stack.")
    return _ok("ring", size)


def _ring(settings: Settings) -> Check:
    layout = Layout.of(settings.ring)
    size = f"{len(layout.places)} slots, {layout.total_bytes >> 20} MiB in {layout.directory}."
    pixels = layout.pixels_path
    if not pixels.exists() or pixels.stat().st_size != layout.total_bytes:
        return _failed("ring", f"Not there: {size}", "Run 'headrace down' and 'headrace up'.")
    if pixels.stat().st_blocks * 512 < layout.total_bytes:
        hint = "Run 'headrace down', free space there, and run 'headrace up'."
        return _failed("ring", f"Not fully allocated: {size}", hint)
    ledger = ledgers.connect_ledger(settings)
    found = full_ring(settings, ledger, ledger.workers())
    return _warning("ring", found.detail, found.hint) if found else _ok("ring", size)


def _broker(settings: Settings) -> Check:
    with closing(connect_queues(settings)) as queues:
        return _ok("broker", f"{queues.server() or 'It'} answers.")


def _ledger(settings: Settings) -> Check:
    incarnation = ledgers.connect_ledger(settings).incarnation()
    if incarnation is None:
        detail = "No producer has begun it."
        return _warning("ledger", detail, "See 'headrace logs producer'.")
    return _ok("ledger", f"It answers; incarnation {incarnation}.")


def _consumers(settings: Settings) -> Iterator[Check]:
    """Are the workers at the broker that the settings name?"""
    well = "Every worker takes messages from this broker."
    ledger = ledgers.connect_ledger(settings)
    look = partial(missing_consumers, settings, ledger)
    yield from _each("consumers", lambda: look(ledger.workers()), well)


def _chunks(settings: Settings) -> Iterator[Check]:
    well = "None is held for longer than it may take."
    yield from _each("chunks", lambda: overdue_chunks(connect_stack(settings.home)), well)


def _each(name: str, look: Callable[[], list[Finding]], well: str) -> Iterator[Check]:
    """A check for each finding, or one that all is well."""
    try:
        found = look()
    except HeadraceError as error:
        yield _failed(name, error.message, error.hint)
        return
    for finding in found:
        say = _warning if finding.is_warning else _failed
        yield say(name, finding.detail, finding.hint)
    if not found:
        yield _ok(name, well)


def _probe(settings: Settings, step_seconds: float, warn: Warn) -> Iterator[Check]:
    """One image through every step, each as a check of its own."""
    try:
        for passage in send_probe(connect_stack(settings.home), step_seconds, warn):
            yield Check(
                name=f"probe {passage.step}",
                ok=passage.state == "ok",
                seconds=passage.seconds,
                hint=passage.hint,
                state=passage.state,
                detail=passage.detail,
            )
    except HeadraceError as error:
        yield _failed("probe", error.message, error.hint)


def _late_counts(settings: Settings) -> int | None:
    """How many messages came too late so far; None where the ledger does not answer."""
    try:
        return sum(ledgers.connect_ledger(settings).stale_counts().values())
    except HeadraceError:
        return None


def _late(settings: Settings, before: int | None) -> Check:
    """Late messages are what a rescue leaves behind: wrong is only that they become more."""
    counts = ledgers.connect_ledger(settings).stale_counts()
    total = sum(counts.values())
    by_reason = ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))
    what = f"{total} messages and moves came too late and were dropped ({by_reason})."
    if before is not None and (found := late_messages(before, total)):
        return _warning("late", f"{what} {found.detail}", found.hint)
    return _ok("late", what if counts else "None was dropped.")


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
    alive = {worker.role for worker in ledgers.connect_ledger(settings).workers()}
    missing = [role.name for role in working_roles() if role.name not in alive]
    detail = f"No live {', '.join(missing)}." if missing else "Every role is alive."
    return _check("roles", not missing, detail, f"See 'headrace logs {''.join(missing[:1])}'.")


def _flower(settings: Settings) -> Check:
    well = answers_http(settings.flower_url)
    does = "answers" if well else "does not answer"
    hint = f"Run 'headrace restart {FLOWER.name}'."
    return _check(FLOWER.name, well, f"{masked_url(settings.flower_url)} {does}.", hint)


def _models(settings: Settings) -> Iterator[Check]:
    try:
        store, unreadable = resolve_store(settings, settings.models_bucket), list[str]()
        models = list_models(store, settings, warn=unreadable.append)
    except HeadraceError as error:
        yield _failed("models", error.message, error.hint)
        return
    for problem in unreadable:
        yield _warning("models", problem, "")
    for model in models:
        name, hint = f"model {model.name}", f"Run 'headrace models pull {model.name}'."
        if model.pulled:
            yield _ok(name, "It is ready.")
        else:
            yield _warning(name, "It is not in the models bucket.", hint)
