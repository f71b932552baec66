"""What is uploaded, under which key, and what is left alone."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from producer.cli.exits import run
from producer.upload.folder import Folder, FolderFile
from producer.upload.transfer import PART_BYTES, UploadReport, is_same, upload
from shared.errors import HeadraceError
from shared.storage import ObjectInfo
from tests.support.fake_connections import fake_connections
from tests.support.memory_store import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "b c" / "ü").mkdir(parents=True)
    for name in ("a.jpg", "100%#?+.jpg", "new\nline.jpg", "b c/a.jpg", "b c/ü/e", "~x"):
        (folder / name).write_bytes(name.encode())
    (folder / "empty").touch()
    return folder


def send(
    store: MemoryStore, folder: Path, url: str, warnings: list[str], *, everything: bool = False
) -> UploadReport:
    return upload(
        folder,
        url,
        lambda _: store,
        warn=warnings.append,
        progress=lambda done, total: None,
        everything=everything,
    )


def test_keys_are_the_prefix_and_the_path(store: MemoryStore, folder: Path) -> None:
    warnings: list[str] = []
    report = send(store, folder, "s3://photos/2026", warnings)
    wanted = {f"2026/{path.relative_to(folder)}" for path in folder.rglob("*") if path.is_file()}
    assert set(store.buckets["photos"]) == wanted
    assert store.buckets["photos"]["2026/b c/a.jpg"] == b"b c/a.jpg"
    assert (report.uploaded, report.skipped) == (7, 0)
    assert report.bytes == sum(map(len, store.buckets["photos"].values()))
    assert warnings == []


# What Windows, macOS, file servers and tools leave in folders, and what is in such folders.
HIDDEN = [
    *(".hidden", ".DS_Store", "._a.jpg", ".git/objects/ab/cd", ".git/HEAD", "b/.thumbs/a.jpg"),
    *("Thumbs.db", "THUMBS.DB", "b/thumbs.db", "Desktop.ini", "ehthumbs.db", "Icon\r", "~$a.docx"),
    *("__MACOSX/b/._a.jpg", "__MACOSX/a.jpg", "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg"),
    *("$RECYCLE.BIN/$R1.jpg", "System Volume Information/IndexerVolumeGuid", "lost+found/1"),
]
SHOWN = ["a.jpg", "b/a.b.jpg", "thumbs.db.jpg", "macosx/a.jpg", "~a.jpg", "b/desktop.ini.png"]


def fill(folder: Path, names: list[str]) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_hidden_and_system_files_are_left_out_and_counted(
    store: MemoryStore, tmp_path: Path
) -> None:
    folder = fill(tmp_path / ".in", [*HIDDEN, *SHOWN])  # a folder that is given may be hidden
    (folder / ".loop").symlink_to(folder)
    report = send(store, folder, "s3://photos/.p", [])
    assert set(store.buckets["photos"]) == {f".p/{name}" for name in SHOWN}
    assert (report.uploaded, report.hidden) == (len(SHOWN), len(HIDDEN) + 1)


def test_all_uploads_them_too(store: MemoryStore, tmp_path: Path) -> None:
    report = send(store, fill(tmp_path / "in", HIDDEN), "s3://photos", [], everything=True)
    assert set(store.buckets["photos"]) == set(HIDDEN)
    assert (report.uploaded, report.hidden) == (len(HIDDEN), 0)


def test_a_folder_with_nothing_else_says_so(store: MemoryStore, tmp_path: Path) -> None:
    with pytest.raises(
        HeadraceError, match=r"besides hidden and system files: 2\. --all uploads them"
    ):
        send(store, fill(tmp_path / "in", [".a", "Thumbs.db"]), "s3://photos", [])
    assert store.buckets == {}


def test_a_broken_link_beside_hidden_files_is_said_too(store: MemoryStore, tmp_path: Path) -> None:
    folder, warnings = fill(tmp_path / "in", [".a"]), list[str]()
    (folder / "broken.jpg").symlink_to(tmp_path / "none")
    with pytest.raises(HeadraceError, match=r"nothing to upload .* besides hidden .* files: 1\."):
        send(store, folder, "s3://photos", warnings)
    assert "a broken link" in warnings[0]


@pytest.mark.parametrize(("names", "said"), [(HIDDEN, f"{len(HIDDEN)} hidden"), ([], "")])
def test_the_command_says_how_many(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    names: list[str],
    said: str,
) -> None:
    fake = fake_connections(tmp_path)
    monkeypatch.setattr("producer.connections.connect_stack", lambda: fake.connections)
    folder = str(fill(tmp_path / "in", ["a.jpg", *names]))
    assert run(["upload", folder, "s3://photos", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hidden"] == len(names)
    assert run(["upload", folder, "s3://photos"]) == 0
    assert said in capsys.readouterr().out
    assert run(["upload", folder, "s3://photos", "--all"]) == 0
    assert f"{len(names)} files uploaded" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("s3://photos", "a"),
        ("s3://photos/", "a"),
        ("s3://photos/p/", "p/a"),
        ("s3://photos/p", "p/a"),
    ],
)
def test_the_prefix_is_a_folder(store: MemoryStore, tmp_path: Path, url: str, key: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").touch()
    send(store, tmp_path / "in", url, [])
    assert list(store.buckets["photos"]) == [key]


def test_what_is_there_is_skipped_and_what_differs_is_not(store: MemoryStore, folder: Path) -> None:
    send(store, folder, "s3://photos/2026", [])
    (folder / "a.jpg").write_bytes(b"b.jpg")  # the same size
    (folder / "empty").write_bytes(b"no more")
    report = send(store, folder, "s3://photos/2026", [])
    assert (report.uploaded, report.skipped, report.bytes) == (2, 5, 12)
    assert store.buckets["photos"]["2026/a.jpg"] == b"b.jpg"


def test_the_etag_of_parts(tmp_path: Path) -> None:
    data = os.urandom(PART_BYTES + 7)
    path = tmp_path / "large"
    path.write_bytes(data)
    digests = [hashlib.md5(data[:PART_BYTES]).digest(), hashlib.md5(data[PART_BYTES:]).digest()]
    etag = hashlib.md5(b"".join(digests)).hexdigest() + "-2"
    file = FolderFile(path, "large", len(data))
    assert is_same(file, ObjectInfo("large", etag, len(data)))
    assert not is_same(file, ObjectInfo("large", etag.replace("-2", "-3"), len(data)))
    assert not is_same(file, ObjectInfo("large", "0" * 32, len(data)))
    assert not is_same(file, None)


def test_links_are_followed_but_not_in_circles(folder: Path) -> None:
    (folder / "twice").symlink_to(folder / "b c")
    (folder / "b c" / "up").symlink_to(folder)
    (folder / "linked.jpg").symlink_to(folder / "a.jpg")
    (folder / "broken").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe")
    warnings: list[str] = []
    keys = {file.key for file in Folder(folder, warnings.append).files("")}
    assert {"twice/a.jpg", "twice/ü/e", "b c/a.jpg", "linked.jpg"} <= keys
    assert not {"broken", "pipe"} & keys
    assert len(keys) == 10
    assert sorted(text.rpartition(": ")[2] for text in warnings) == [
        "a broken link.",
        "a link to a folder around it.",
        "a link to a folder around it.",
        "not a regular file.",
    ]


def test_names_that_cannot_be_keys_are_left_out_loudly(tmp_path: Path) -> None:
    deep = tmp_path.joinpath("in", *["d" * 200] * 5)
    deep.mkdir(parents=True)
    (deep / ("f" * 30)).touch()
    (tmp_path / "in" / "fine").touch()
    Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/\xff.jpg")).touch()
    warnings: list[str] = []
    files = list(Folder(tmp_path / "in", warnings.append).files(""))
    assert [file.key for file in files] == ["fine"]
    assert len(warnings) == 2
    assert all(text.isascii() and text.isprintable() for text in warnings)


def test_a_missing_and_an_empty_folder_make_no_bucket(store: MemoryStore, tmp_path: Path) -> None:
    for folder in (tmp_path / "missing", tmp_path):
        with pytest.raises(HeadraceError) as caught:
            send(store, folder, "s3://photos", [])
        assert caught.value.exit_code == 2
    assert store.buckets == {}


def test_an_unreadable_file_is_named(
    store: MemoryStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_bucket: str, key: str, path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(store, "put_file", refuse)
    with pytest.raises(HeadraceError, match=r"Cannot read .*Permission denied"):
        send(store, folder, "s3://photos", [])


def test_an_interrupted_upload_stops_and_goes_on_where_it_was(
    store: MemoryStore, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(500):
        (tmp_path / "in" / f"{number:03}").write_text(str(number))

    def interrupt(done: int, _total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upload(
            tmp_path / "in",
            "s3://photos",
            lambda _: store,
            warn=lambda _: None,
            progress=interrupt,
        )
    sent = len(store.buckets["photos"])
    assert sent >= 20
    report = send(store, tmp_path / "in", "s3://photos", [])
    assert (report.uploaded, report.skipped) == (500 - sent, sent)
