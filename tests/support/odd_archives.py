"""Archives of code that no command of ours makes."""

from __future__ import annotations

import io
import stat
import warnings
import zipfile

from shared.catalog.packing import archive_of
from shared.model import MAX_CODE_BYTES


def zipped(*entries: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of two entries of one name
        for entry, data in entries:
            archive.writestr(entry, data)
    return file.getvalue()


def of_mode(name: str, mode: int, how: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr, entry.compress_type = 3, mode << 16, how
    return entry


PLAIN = stat.S_IFREG | 0o644
DEFLATED = of_mode("own.py", PLAIN, zipfile.ZIP_DEFLATED)
BOMB = zipped((DEFLATED, bytes(2 * MAX_CODE_BYTES)))
LYING = archive_of({"own.py": b"class Own: ..."}).replace(b"class Own", b"class Bad")

ODD_ARCHIVES = [
    zipped((of_mode("../own.py", PLAIN), b"")),
    zipped((of_mode("/tmp/own.py", PLAIN), b"")),
    zipped((of_mode("pkg/../../own.py", PLAIN), b"")),
    zipped((of_mode("pkg//own.py", PLAIN), b"")),
    zipped((of_mode("pkg/", PLAIN), b"")),
    zipped((of_mode("link.py", stat.S_IFLNK | 0o777), b"/etc/passwd")),
    zipped((of_mode("pipe.py", stat.S_IFIFO | 0o777), b"")),
    zipped((of_mode("folder", stat.S_IFDIR | 0o777), b"")),
    zipped((of_mode("own.py", PLAIN), b"x"), (of_mode("own.py", PLAIN), b"y")),
    zipped((of_mode("own.py", PLAIN), b"x"), (of_mode("own.py/x.py", PLAIN), b"y")),
    zipped((DEFLATED, b"x" * 1000)),
    BOMB,
    LYING,
    archive_of({"own.py": bytes(MAX_CODE_BYTES + 1)}),
    archive_of({"own.py": b"x"})[:-10],
    b"",
    b"PK" * 100,
]
