"""Makes ``.venv`` with pinned requirements: ``python3 tools/install.py [GROUP...]``.

Groups are the files of ``requirements/``; the default is what the product needs to run. It runs on
the system's Python and needs nothing but its standard library. A stamp, written last, says which
groups are whole; without it ``.venv`` is made anew, so nothing half-made or moved is ever used.
Packages are kept in ``~/.cache/headrace/wheels``, from which the same install works offline.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from shared.environment import PIP, settle, with_user_variables  # noqa: E402

STAMP = ".headrace-install"
# Later groups may need earlier ones. With about what each downloads and takes on disk, in GB.
GROUPS = {
    "base": (0.2, 0.6),
    "inference": (3.2, 5.8),
    "heic": (0.1, 0.1),
    "demo": (0.1, 0.1),
    "dev": (0.1, 0.4),
    "bench": (0.1, 0.1),
}
# The inference group where torch comes without CUDA.
WITHOUT_CUDA = (0.4, 1.1)
MIN_PYTHON = (3, 11)
PLATFORMS = {("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64")}
FREE_GB = 10.0
DOWNLOADING = re.compile(r"Downloading (\S+?)-\d\S* \(([\d.]+) (kB|MB|GB)\)")
UNIT_MB = {"kB": 0.001, "MB": 1.0, "GB": 1000.0}
SHOWN_MB = 20.0


class Refused(Exception):
    """This machine cannot take the install; one line says why and what to do."""


def log(text: str) -> None:
    """One line of progress."""
    print(text, file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Install the groups that are missing. Returns the exit code."""
    wanted = [group for group in GROUPS if group in (arguments or ["base", "inference"])]
    try:
        if unknown := set(arguments) - set(GROUPS):
            raise Refused(f"No such group: {', '.join(sorted(unknown))}. See requirements/.")
        check_python()
        if missing_groups(ROOT, wanted):
            log(f"ok  Python {platform.python_version()}, with venv and ensurepip")
            check_machine(ROOT)
            with alone(wheels := wheel_folder()):
                if missing := missing_groups(ROOT, wanted):
                    install(ROOT, missing, wheels)
    except Refused as error:
        log(f"install: {error}")
        return 1
    except KeyboardInterrupt:
        log("install: interrupted; run it again to go on.")
        return 130
    return 0


def check_python() -> None:
    """This interpreter is new enough and can make environments."""
    if sys.version_info < MIN_PYTHON:
        raise Refused(
            f"Python {platform.python_version()} is too old: 3.11 or later is needed. "
            "Give one with PYTHON=/path/to/python3.11."
        )
    try:
        import ensurepip
        import venv
    except ImportError as error:
        raise Refused(
            f"{sys.executable} lacks {error.name}. On Debian and Ubuntu: apt install python3-venv."
        ) from None
    del ensurepip, venv


def check_machine(root: Path) -> None:
    """The platform has all packages, and the disk has room for them."""
    here = platform.system(), platform.machine()
    if here not in PLATFORMS:
        known = ", ".join(" ".join(pair) for pair in sorted(PLATFORMS))
        raise Refused(f"No packages for {' '.join(here)}. There are for: {known}.")
    log(f"ok  platform {' '.join(here)}")
    free_gb = shutil.disk_usage(root).free / 1e9
    if free_gb < FREE_GB and not read_stamp(root):
        raise Refused(f"Only {free_gb:.1f} GB are free in {root}: {FREE_GB:.0f} are needed.")
    log(f"ok  {free_gb:.0f} GB free in {root}")


def environment_key(root: Path) -> str:
    """Changes when ``.venv`` has to be made anew: it was moved, or the Python is another."""
    parts = (platform.python_version(), os.path.realpath(sys.executable), str(root / ".venv"))
    return digest(*parts)


def group_key(root: Path, group: str) -> str:
    """Changes with the versions that the group pins."""
    project = (root / "pyproject.toml").read_text() if group == "base" else ""
    return digest(requirements(root, group).read_text(), project)


def requirements(root: Path, group: str) -> Path:
    """The file that pins a group."""
    return root / "requirements" / f"{group}.txt"


def digest(*parts: str) -> str:
    """A short name for what ``parts`` are."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def read_stamp(root: Path) -> dict[str, str]:
    """Key by group of what is whole in ``.venv``; empty where it has to be made anew."""
    try:
        stamp = json.loads((root / ".venv" / STAMP).read_text())
        fits = stamp.pop("environment") == environment_key(root)
    except (OSError, ValueError, KeyError, AttributeError):
        return {}
    return stamp if fits and (root / ".venv" / "bin" / "python").exists() else {}


def missing_groups(root: Path, wanted: list[str]) -> list[str]:
    """Those of the wanted groups that are not installed as they should be."""
    stamp = read_stamp(root)
    return [group for group in wanted if stamp.get(group) != group_key(root, group)]


def install(root: Path, groups: list[str], wheels: Path) -> None:
    """Bring ``.venv`` to have these groups too. Interrupted, it begins anew the next time."""
    started = time.monotonic()
    venv, stamp = root / ".venv", read_stamp(root)
    if not stamp:
        log(f"Making {venv}.")
        shutil.rmtree(venv, ignore_errors=True)
        run([sys.executable, "-m", "venv", str(venv)])
    (venv / STAMP).unlink(missing_ok=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    files = [f"--constraint={requirements(root, group)}" for group in GROUPS]
    files += [f"--requirement={requirements(root, group)}" for group in groups]
    complete = download(pip, root, groups, files, wheels)
    log(f"Installing {', '.join(groups)}{': about a minute' if 'inference' in groups else ''}.")
    offline = [*pip, "install", "--quiet", "--no-compile", "--no-index", f"--find-links={wheels}"]
    try:
        run([*offline, *files])
        if "base" in groups:
            run([*offline, "--no-deps", "--no-build-isolation", "--editable", str(root)])
            command = venv / "bin" / "headrace"
            command.write_text(command_text(venv / "bin" / "python"))
            command.chmod(0o755)
    except Refused:
        complete.unlink(missing_ok=True)  # a package may have been lost from the folder
        raise
    # What pip would do on one core. Some packages carry files for other Pythons: no matter.
    subprocess.run([*pip[:2], "compileall", "-qq", "-j0", str(venv / "lib")], check=False)
    stamp.update((group, group_key(root, group)) for group in groups)
    (venv / STAMP).write_text(json.dumps({**stamp, "environment": environment_key(root)}))
    log(f"Installed in {time.monotonic() - started:.0f} s.")


def command_text(python: Path) -> str:
    """The command ``headrace``. Its Python sees no PYTHONPATH of the user's, nor the locale."""
    return f'#!/bin/sh\nexec {shlex.quote(str(python))} -I -X utf8 -m producer "$@"\n'


def download(pip: list[str], root: Path, groups: list[str], files: list[str], wheels: Path) -> Path:
    """Fetch every package of these groups, unless a run has. Returns the mark that says so."""
    python = ".".join(platform.python_version_tuple()[:2])
    keys = [group_key(root, group) for group in groups]
    complete = wheels / f"{digest(python, platform.system(), platform.machine(), *keys)}.complete"
    if complete.exists():
        log(f"Nothing to download: the packages are in {wheels}.")
        return complete
    sizes = GROUPS if platform.system() == "Linux" else {**GROUPS, "inference": WITHOUT_CUDA}
    download_gb, disk_gb = (sum(sizes[group][column] for group in groups) for column in (0, 1))
    log(f"Downloading {download_gb:.1f} GB, once, to {wheels}; installed it is {disk_gb:.1f} GB.")
    # Kept here and not in pip's cache, from which pip cannot install offline.
    fetch([*pip, "download", "--no-cache-dir", "--only-binary=:all:", f"--dest={wheels}", *files])
    complete.touch()
    return complete


def wheel_folder() -> Path:
    """Where packages are kept, for every checkout of this user."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(cache) / "headrace" / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def alone(wheels: Path) -> Iterator[None]:
    """One install at a time."""
    with (wheels / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run(command: list[str]) -> None:
    """Run a step; its own output says why it fails."""
    check(subprocess.run(command, check=False).returncode, command)


def fetch(command: list[str]) -> None:
    """Run pip, showing of what it says the large downloads and their sum."""
    fetched_mb = 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            if found := DOWNLOADING.search(line):
                size_mb = float(found[2]) * UNIT_MB[found[3]]
                fetched_mb += size_mb
                if size_mb >= SHOWN_MB:
                    log(f"  {fetched_mb / 1000:.2f} GB with {found[1]}")
    check(process.returncode, command)


def check(code: int, command: list[str]) -> None:
    """A step that failed ends the install."""
    if code:
        step = " ".join(command[1:5])
        raise Refused(f"'{step} ...' ended with code {code}, see above. Is the network there?")


if __name__ == "__main__":
    if sys.version_info >= MIN_PYTHON:
        settle()
        os.environ.update(with_user_variables(*PIP))
    sys.exit(main(sys.argv[1:]))
