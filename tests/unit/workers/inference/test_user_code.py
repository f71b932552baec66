"""A user's code and files on a worker: fetched once, trusted only for their hash."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import pytest

from shared.errors import TransientError
from shared.keys import code_key, file_key
from shared.model import MAX_CODE_BYTES, Model
from shared.storage import AccessDenied, StoreUnavailable
from tests.support.memory_store import MemoryStore
from tests.support.odd_archives import ODD_ARCHIVES
from tests.support.packed_class import packed
from workers.inference import user_code as module
from workers.inference.errors import HostUnable, ModelUnusable
from workers.inference.user_code import UserCode

_T = TypeVar("_T")
SOURCES = {"own.py": "class Own: ...", "pkg/__init__.py": "", "pkg/part.py": "x = 1"}
WEIGHTS = os.urandom(5000)
FILES = {"data/w.bin": WEIGHTS, "labels.txt": b"cat", "empty": b""}


class Store(MemoryStore):
    """Counts what it was asked for; ``down`` makes it answer nothing."""

    def __init__(self) -> None:
        super().__init__("models")
        self.asked: list[str] = []
        self.down = False

    def request(self, name: str, key: str, action: Callable[[], _T]) -> _T:
        if self.down:
            raise StoreUnavailable("store_unavailable", "It does not answer.")
        if name == "get":
            self.asked.append(key)
        return action()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def code(store: Store, tmp_path: Path) -> UserCode:
    return UserCode(store, "models", tmp_path / "cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def model(store: Store) -> Model:
    return stored(store, *packed("own:Own", SOURCES, FILES))


def stored(store: Store, model: Model, archive: bytes) -> Model:
    """As ``enqueue`` leaves it."""
    store.put("models", code_key(str(model.code_sha256)), archive)
    for data in FILES.values():
        store.put("models", file_key(hashlib.sha256(data).hexdigest()), data)
    return model


def of_archive(store: Store, archive: bytes) -> Model:
    """A model whose code is that archive, rightly hashed."""
    sha256 = hashlib.sha256(archive).hexdigest()
    store.put("models", code_key(sha256), archive)
    return Model(name="own", sha256="a" * 64, python_class="own:Own", code_sha256=sha256)


def laid_out(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def again(folder: Path) -> Path:
    other = folder.with_name(f"{folder.name}-{len(list(folder.parent.iterdir()))}")
    other.mkdir()
    return other


def test_code_is_copied_and_files_are_linked(
    store: Store, code: UserCode, model: Model, folder: Path
) -> None:
    code.lay_out(model, folder)
    sources = {name: text.encode() for name, text in SOURCES.items()}
    assert laid_out(folder) == {**sources, **FILES}
    assert {path.name for path in folder.rglob("*") if path.is_symlink()} == {
        *("w.bin", "labels.txt", "empty")
    }
    assert stat.S_IMODE((folder / "labels.txt").stat().st_mode) == 0o444
    (folder / "own.py").write_text("edited")
    other = again(folder)
    code.lay_out(model, other)
    assert laid_out(other) == {**sources, **FILES}
    assert sorted(store.asked) == sorted({*store.asked})  # each once


def test_another_worker_takes_what_is_cached(
    store: Store, model: Model, folder: Path, tmp_path: Path
) -> None:
    UserCode(store, "models", tmp_path / "cache").lay_out(model, folder)
    store.down = True
    UserCode(store, "models", tmp_path / "cache").lay_out(model, again(folder))


def test_workers_that_fetch_at_once_both_have_it(
    store: Store, model: Model, tmp_path: Path
) -> None:
    folders = [tmp_path / f"scratch-{n}" for n in range(8)]

    def work(folder: Path) -> None:
        folder.mkdir()
        UserCode(store, "models", tmp_path / "cache").lay_out(model, folder)

    threads = [threading.Thread(target=work, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert all(laid_out(folder) == laid_out(folders[0]) for folder in folders)
    assert len(laid_out(folders[0])) == 6
    assert not list((tmp_path / "cache").glob("*.part"))


@pytest.mark.parametrize("key", ["code", "file"])
@pytest.mark.parametrize("spoil", ["missing", "wrong", "short", "long"])
def test_what_the_store_does_not_have_or_gives_wrong_is_refused(
    store: Store, code: UserCode, model: Model, folder: Path, key: str, spoil: str
) -> None:
    names = {"code": code_key(str(model.code_sha256)), "file": file_key(model.files[0].sha256)}
    objects = store.buckets["models"]
    data = objects.pop(names[key])
    wrong = {"wrong": bytes(len(data)), "short": data[:-1], "long": data + b"x"}
    if spoil != "missing":
        objects[names[key]] = wrong[spoil]
    with pytest.raises(ModelUnusable, match="nqueue the job again") as caught:
        code.lay_out(model, folder)
    assert names[key] in str(caught.value)
    assert not list(code._cache.glob("*.part"))
    objects[names[key]] = data
    code.lay_out(model, again(folder))


def test_an_object_larger_than_declared_is_not_fetched(
    store: Store, code: UserCode, model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ARCHIVE_BYTES", 100)
    with pytest.raises(ModelUnusable, match=r"has .* bytes"):
        code.lay_out(model, folder)


def test_a_store_that_does_not_answer_is_no_verdict(
    store: Store, code: UserCode, model: Model, folder: Path
) -> None:
    store.down = True
    with pytest.raises(TransientError):
        code.lay_out(model, folder)
    store.down = False
    code.lay_out(model, folder)


def test_a_store_that_fails_midway_leaves_nothing(
    store: Store, code: UserCode, model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_bucket: str, _key: str, *, max_bytes: int) -> Iterator[bytes]:
        yield bytes(max_bytes // 2)
        raise StoreUnavailable("store_unavailable", "It went away.")

    monkeypatch.setattr(store, "pieces", broken)
    with pytest.raises(TransientError):
        code.lay_out(model, folder)
    assert list(code._cache.iterdir()) == list(folder.iterdir()) == []


@pytest.mark.parametrize("in_the_way", ["cache", "scratch"])
def test_a_place_that_cannot_be_written_is_no_verdict(
    code: UserCode, model: Model, tmp_path: Path, in_the_way: str
) -> None:
    (tmp_path / in_the_way).write_text("a file")
    if in_the_way == "cache":
        (tmp_path / "scratch").mkdir()
        with pytest.raises(TransientError, match="Cannot write"):
            code.lay_out(model, tmp_path / "scratch")
    else:
        with pytest.raises((TransientError, ModelUnusable)):
            code.lay_out(model, tmp_path / "scratch")


@pytest.mark.parametrize("keep_times", [False, True])
@pytest.mark.parametrize("which", [0, 1], ids=["code", "file"])
def test_a_cached_file_that_was_changed_is_fetched_again(
    store: Store, code: UserCode, model: Model, folder: Path, which: int, keep_times: bool
) -> None:
    """As a user's class could, whose file it is: even where it sets the time back."""
    code.lay_out(model, folder)
    cached = code._cache / (str(model.code_sha256), model.files[0].sha256)[which]
    right, found = cached.read_bytes(), cached.stat()
    cached.chmod(0o600)
    cached.write_bytes(bytes(len(right)))
    if keep_times:
        os.utime(cached, ns=(found.st_atime_ns, found.st_mtime_ns))
    asked = len(store.asked)
    other = again(folder)
    code.lay_out(model, other)
    assert cached.read_bytes() == right
    assert laid_out(other) == laid_out(again_laid_out(code, model, folder))
    assert len(store.asked) == asked + 1


def again_laid_out(code: UserCode, model: Model, folder: Path) -> Path:
    other = again(folder)
    code.lay_out(model, other)
    return other


def test_a_cached_file_is_read_once_while_it_stays(
    code: UserCode, model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code.lay_out(model, folder)

    def read(*_: object) -> None:
        raise AssertionError("was hashed again")

    monkeypatch.setattr(hashlib, "file_digest", read)
    code.lay_out(model, again(folder))
    monkeypatch.undo()
    touched = code._cache / model.files[0].sha256
    os.utime(touched)
    code.lay_out(model, again(folder))


@pytest.fixture
def disk(code: UserCode, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A disk of so many bytes, for the cache alone."""
    code._cache.mkdir()
    size = [10_000]

    def usage(_: Path) -> SimpleNamespace:
        used = sum(path.stat().st_size for path in code._cache.iterdir())
        return SimpleNamespace(free=max(0, size[0] - used))

    monkeypatch.setattr(shutil, "disk_usage", usage)
    return size


def kept(code: UserCode, name: str, age_seconds: float) -> Path:
    """1000 bytes in the cache, last used so long ago."""
    path = code._cache / name
    path.write_bytes(bytes(1000))
    os.utime(path, (time.time() - age_seconds,) * 2)
    return path


def test_what_was_not_used_for_longest_makes_room(
    code: UserCode, model: Model, folder: Path, disk: list[int]
) -> None:
    ages = {name: 3600.0 * (2 + n) for n, name in enumerate("dcba")}
    old = [kept(code, name, ages[name]) for name in "abcd"]
    new = kept(code, "new", 60)
    disk[0] = 3000 + len(WEIGHTS) + len(b"cat")
    code.lay_out(model, folder)
    assert [path.name for path in old if path.exists()] == ["c", "d"]
    assert new.exists()
    assert laid_out(folder)["data/w.bin"] == WEIGHTS
    code.lay_out(model, again(folder))  # which needs no room
    assert all(path.exists() for path in (*old[2:], new))


def test_the_models_own_files_do_not_make_room(
    store: Store, code: UserCode, model: Model, folder: Path, disk: list[int]
) -> None:
    code.lay_out(model, folder)
    for path in code._cache.iterdir():
        os.utime(path, (time.time() - 10**6,) * 2)
    labels = code._cache / hashlib.sha256(b"cat").hexdigest()
    labels.unlink()
    disk[0] = sum(path.stat().st_size for path in code._cache.iterdir())
    with pytest.raises(HostUnable):
        code.lay_out(model, again(folder))
    assert (code._cache / hashlib.sha256(WEIGHTS).hexdigest()).exists()


def test_files_that_do_not_fit_are_this_machines_trouble(
    store: Store, code: UserCode, model: Model, folder: Path, disk: list[int]
) -> None:
    new = kept(code, "new", 60)
    disk[0] = 1000 + len(WEIGHTS)
    with pytest.raises(HostUnable, match=r"need 0\.0 MiB, and 0\.0 MiB are free in .*cache on"):
        code.lay_out(model, folder)
    assert new.exists()
    assert store.asked == []


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
@pytest.mark.parametrize("which", [0, 1], ids=["code", "file"])
def test_what_is_no_file_in_the_cache_is_named(
    code: UserCode, model: Model, folder: Path, make: Callable[[Path], None], which: int
) -> None:
    code._cache.mkdir()
    path = code._cache / (str(model.code_sha256), model.files[0].sha256)[which]
    make(path)
    with pytest.raises(HostUnable, match=rf"{path} on .* is not a file\. Remove it"):
        code.lay_out(model, folder)


def test_what_the_store_advises_is_passed_on(
    store: Store, code: UserCode, model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> Iterator[bytes]:
        raise AccessDenied("access_denied", "It refuses.", "Check the credentials.")

    monkeypatch.setattr(store, "pieces", denied)
    with pytest.raises(HostUnable, match=r"^It refuses\. Check the credentials\.$"):
        code.lay_out(model, folder)


@pytest.mark.parametrize(
    "archive",
    ODD_ARCHIVES,
    ids=lambda archive: f"{len(archive)} bytes",
)
def test_an_archive_that_is_not_as_we_make_them_is_refused(
    store: Store, code: UserCode, folder: Path, archive: bytes
) -> None:
    before = {path for path in folder.parent.rglob("*") if "cache" not in path.parts}
    with pytest.raises(ModelUnusable) as caught:
        code.lay_out(of_archive(store, archive), folder)
    assert "\n" not in str(caught.value)
    after = {path for path in folder.parent.rglob("*") if "cache" not in path.parts}
    assert all(path.is_relative_to(folder) for path in after - before)
    assert sum(path.stat().st_size for path in after if path.is_file()) <= MAX_CODE_BYTES
    assert not any(path.is_symlink() for path in after)


def test_a_file_may_not_take_the_place_of_code(store: Store, code: UserCode, folder: Path) -> None:
    for name in ("own.py", "pkg", "pkg/part.py", "own.py/x"):
        model = stored(store, *packed("own:Own", SOURCES, {name: b"cat"}))
        with pytest.raises(ModelUnusable, match="have one name"):
            code.lay_out(model, again(folder))


def test_what_a_killed_worker_was_fetching_is_swept(
    store: Store, code: UserCode, model: Model, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir()
    old, new = tmp_path / "cache" / "old.part", tmp_path / "cache" / "new.part"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - module.LOST_SECONDS - 60,) * 2)
    code.lay_out(model, folder)
    assert (old.exists(), new.exists()) == (False, True)
