"""What the environment may decide: what is listed here, and what is asked for by its name.

Libraries read hundreds of variables: where the broker is, which configuration to load, whom to
trust. So each program of ours begins with ``settle``. What it does not list stays in the
environment as ``HEADRACE_SHELL_NAME``, which no library reads, and ``user_variable`` finds it.
"""

from __future__ import annotations

import locale
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from shared.errors import UsageError

PROFILE_VARIABLE = "HEADRACE_PROFILE"
_OURS = "HEADRACE_"
_SHELL = "HEADRACE_SHELL_"
# Holds the process id, which execve keeps: this process has started again already.
_RESTARTED = "HEADRACE_RESTARTED"
# What the user's terminal shows, kept over such a start.
TERMINAL_ENCODING = "HEADRACE_TERMINAL_ENCODING"
_MAX_BYTES = 32 << 10
# Linux gives a new process 2 MiB for its arguments and its environment.
_MAX_BYTES_IN_ALL = 256 << 10

# What any program needs, a user's class too: who we are, and where HOME keeps caches.
BASICS = {
    *("HOME", "LOGNAME", "PATH", "TZ", "USER"),
    # Which devices there are, and where a machine keeps their libraries.
    *("CUDA_CACHE_PATH", "CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH"),
    *("CUDA_MPS_LOG_DIRECTORY", "CUDA_MPS_PIPE_DIRECTORY"),
    *("NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_VISIBLE_DEVICES"),
    # Whom encrypted connections trust.
    *("SSL_CERT_DIR", "SSL_CERT_FILE"),
}
PASSED = {
    *BASICS,
    # Where we may write, and what a terminal can show.
    *("PYTHONDONTWRITEBYTECODE", "TMPDIR", "COLUMNS", "LINES", "NO_COLOR", "TERM"),
    # The way to other stores and to downloads. Our own store is never asked through a proxy.
    *("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"),
    *("all_proxy", "http_proxy", "https_proxy", "no_proxy"),
    # The role that AWS gives a machine: minio's IamAwsProvider reads these itself.
    *("AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
    *("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
    *("AWS_REGION", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE"),
}
# The same for every process of ours, whatever the shell has.
CHOSEN = {
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    # glibc gives freed pages back at once without it: large images decode 1.7 times as fast.
    "MALLOC_TOP_PAD_": "67108864",
    "PYTHONNOUSERSITE": "1",
    "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
    "PYTHONSAFEPATH": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONUTF8": "1",
}
# What pip reads on its user's behalf: where packages are, and how to get there.
PIP = (
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_TRUSTED_HOST"),
    *("PIP_CERT", "PIP_CLIENT_CERT", "PIP_PROXY", "PIP_DEFAULT_TIMEOUT", "PIP_TIMEOUT"),
    *("PIP_CONFIG_FILE", "PIP_CACHE_DIR", "PIP_NO_CACHE_DIR", "PIP_KEYRING_PROVIDER"),
    *("XDG_CACHE_HOME", "XDG_CONFIG_DIRS", "XDG_CONFIG_HOME"),
    *("CURL_CA_BUNDLE", "NETRC", "REQUESTS_CA_BUNDLE"),
)


def settle(**more: str) -> None:
    """Leave this process, and what it starts, the settled environment, and ``more``.

    To be called before anything is imported that reads variables. Python has read its own, and the
    locale, when it started: where the user's decide, the same command starts again without them.
    """
    wanted = {**settled(os.environ), **more}
    pid = str(os.getpid())
    # Once: a .pth file may set variables at every start. Standard input cannot be read again.
    can_restart = wanted.pop(_RESTARTED, None) != pid and sys.argv[0] not in ("", "-")
    if can_restart and _shell_decided(wanted):
        command = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, command, {**wanted, _RESTARTED: pid})
    os.environ.clear()
    os.environ.update(wanted)


def settled(environment: Mapping[str, str]) -> dict[str, str]:
    """What a process of ours is to be given where the user's shell has ``environment``."""
    passed, others = {}, {}
    for name, value in environment.items():
        if name.startswith(_SHELL) and _differs(environment, name.removeprefix(_SHELL)):
            continue  # somebody has set the variable itself since
        if name in PASSED or name.startswith(_OURS):
            passed[name] = value
        elif CHOSEN.get(name) != value:
            others[_SHELL + name] = value
    return {**_bounded(others), **passed, **CHOSEN}


def uses_docker() -> bool:
    """Is this about the stack in containers, and not this machine's? Raises UsageError."""
    profile = os.environ.get(PROFILE_VARIABLE) or "local"
    if profile not in ("local", "docker"):
        raise UsageError("bad_profile", f"There is no profile {profile!r}.", "local or docker.")
    return profile == "docker"


def user_variable(name: str) -> str | None:
    """The value of a variable of the user's own; None where it is not set, or is one of ours."""
    if name.startswith(_OURS):
        return None
    own = None if name in CHOSEN else os.environ.get(name)
    return os.environ.get(_SHELL + name, own)


def terminal_encoding() -> str:
    """The encoding of what the user's shell shows, to be asked for before ``settle``.

    ``PYTHONIOENCODING`` says it, or the locale; UTF-8 where neither does. It includes ASCII, and is
    ASCII where nobody knows the encoding that is named.
    """
    if os.environ.get(_RESTARTED) == str(os.getpid()) and TERMINAL_ENCODING in os.environ:
        return os.environ[TERMINAL_ENCODING]
    named = (_in_shell("PYTHONIOENCODING") or "").partition(":")[0]
    if not named:
        spoken = next(filter(None, map(_in_shell, ("LC_ALL", "LC_CTYPE", "LANG"))), "C.UTF-8")
        charset = locale.normalize(spoken).partition(".")[2].partition("@")[0]
        named = charset or "ascii"
    plain = bytes(range(32, 127))
    try:
        return named if plain.decode(named) == plain.decode() else "ascii"
    except (LookupError, ValueError):
        return "ascii"


def with_user_variables(*names: str) -> dict[str, str]:
    """Our environment and these variables of the user's, for programs such as pip and docker."""
    found = {name: value for name in names if (value := user_variable(name)) is not None}
    return {**os.environ, **found}


def _in_shell(name: str) -> str | None:
    return os.environ.get(_SHELL + name, os.environ.get(name))


def _shell_decided(wanted: Mapping[str, str]) -> bool:
    """Did Python start with variables of the user's, or with an encoding other than UTF-8?"""
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:
        return True
    pythons = {(name, value) for name, value in os.environ.items() if name.startswith("PYTHON")}
    return not pythons <= wanted.items() and not sys.flags.ignore_environment


def _differs(environment: Mapping[str, str], name: str) -> bool:
    """Is the variable set, and not by us?"""
    return environment.get(name, CHOSEN.get(name)) != CHOSEN.get(name)


def _bounded(variables: Mapping[str, str]) -> dict[str, str]:
    kept, room = {}, _MAX_BYTES_IN_ALL
    for name, value in sorted(variables.items(), key=lambda item: len(item[1])):
        size = len(os.fsencode(name + value))
        if len(os.fsencode(value)) <= _MAX_BYTES and size <= room:
            kept[name] = value
            room -= size
    return kept
