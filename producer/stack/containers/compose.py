"""Running ``docker compose`` over one home, and saying in one line why it fails."""

from __future__ import annotations

import json
import re
import subprocess
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from producer import Echo
from producer.stack.home import Home
from producer.stack.roles import WORKER_STOP_SECONDS
from shared.environment import user_variable, with_user_variables
from shared.errors import HeadraceError
from shared.settings import PROJECT_ROOT

COMPOSE_FILE = PROJECT_ROOT / "docker-compose.yml"
VARIABLES = Path("run", "compose.env")
# What the engine's client reads on its user's behalf, and what ``docker-compose.yml`` passes on.
PASSED_ON = (
    *("DOCKER_API_VERSION", "DOCKER_CERT_PATH", "DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_HOST"),
    *("DOCKER_BUILDKIT", "DOCKER_DEFAULT_PLATFORM", "DOCKER_TLS_VERIFY", "BUILDX_BUILDER"),
    *("SSH_AUTH_SOCK", "XDG_RUNTIME_DIR", "PYTHON_IMAGE"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"),
    *("AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"),
)
# Our own, which the shell would win over.
WRITTEN = (
    *("COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES", "HEADRACE_FILES", "HEADRACE_USER"),
    *("HEADRACE_STORE_PORT", "HEADRACE_FLOWER_PORT", "HEADRACE_STORES"),
)
KEPT_LINES = 20
# Of what a build tells: how it goes about it, and steps that there was nothing to do for.
NOISE = re.compile(
    r"^#\d+ (CACHED|DONE|transferring|writing|naming|exporting|building with|\[.*internal\])"
    r"|^#\d+ \[[^\]]*\] (COPY|FROM|WORKDIR|exporting)|level=warning msg=.*Bake"
)
# The code of a failure that the engine's own words do not explain.
UNEXPLAINED = "docker_failed"
# What the engine says, the code of our error, and what to do.
SIGNS = (
    (
        "could not select device driver",
        ("no_gpu", "Install NVIDIA's container toolkit, or leave COMPOSE_PROFILES=gpu away."),
    ),
    (
        "port is already allocated",
        ("port_taken", "End what listens there, and run the command again."),
    ),
    (
        "bind source path does not exist",
        ("no_secret", "Run 'headrace --profile docker up', which writes it again."),
    ),
    *(
        (sign, ("image_not_pulled", "Check the name and tag of the image, and the network."))
        for sign in (
            *("manifest unknown", "pull access denied", "manifest for", "no such host"),
            *("failed to resolve", "Client.Timeout", "not found: manifest"),
        )
    ),
)


def device() -> str:
    """``cpu``, or ``gpu`` where Compose's own variable says so."""
    return "gpu" if "gpu" in (user_variable("COMPOSE_PROFILES") or "").split(",") else "cpu"


def environment() -> dict[str, str]:
    """What ``docker`` is told: the rest of the shell decides neither what starts nor how."""
    passed = with_user_variables(*PASSED_ON)
    return {name: value for name, value in passed.items() if name not in WRITTEN}


class Compose:
    """``docker compose`` over the file of the project and the variables of one home."""

    def __init__(self, home: Home) -> None:
        self._command = ["docker", "compose", "--file", str(COMPOSE_FILE)]
        self._command += ["--env-file", str(home.root / VARIABLES)]
        self._project = home.short_name
        self._label = f"label=com.docker.compose.project={self._project}"

    def run(self, *arguments: str, echo: Echo | None = None) -> str:
        """Run to its end and return what it says on stdout, telling ``echo`` its progress.

        Raises HeadraceError in one line where it fails.
        """
        command = [*self._command, "--progress", "plain", *arguments]
        with subprocess.Popen(
            command,
            env=environment(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            errors="replace",
        ) as process:
            kept: deque[str] = deque(maxlen=KEPT_LINES)
            told: set[str] = set()  # Compose says again and again what it waits for
            for line in filter(None, map(str.strip, process.stdout or ())):
                kept.append(line)
                if echo is not None and line not in told and not NOISE.search(line):
                    echo(line)
                    told.add(line)
        if process.returncode:
            raise failure(arguments[0], kept)
        return "\n".join(kept)

    def lines(self, *arguments: str) -> Iterator[str]:
        """Every line of its output, as it comes."""
        with subprocess.Popen(
            [*self._command, *arguments],
            env=environment(),
            text=True,
            stdout=subprocess.PIPE,
            errors="replace",
        ) as process:
            try:
                yield from (line.rstrip("\n") for line in process.stdout or ())
            finally:
                process.terminate()

    def containers(self) -> list[dict[str, Any]]:
        """What the engine knows of each of our containers, also of those that do not run."""
        ids = docker("ps", "--all", "--quiet", "--filter", self._label).split()
        return list(json.loads(docker("inspect", *ids))) if ids else []

    def remove(self, service: str) -> None:
        """Stop and remove the containers of one service, if there are any."""
        label = f"label=com.docker.compose.service={service}"
        if ids := docker("ps", "--all", "--quiet", "--filter", self._label, "--filter", label):
            docker("stop", "--time", str(WORKER_STOP_SECONDS), *ids.split())
            docker("rm", "--force", *ids.split())

    def clear(self) -> None:
        """Remove containers that have stopped, and the ring where it has no user any more.

        The next one may be of another size.
        """
        stopped = [f"--filter=status={status}" for status in ("created", "exited", "dead")]
        if ids := docker("ps", "--all", "--quiet", "--filter", self._label, *stopped):
            docker("rm", "--force", *ids.split())
        ring = f"{self._project}_staging"
        if not docker("ps", "--all", "--quiet", "--filter", f"volume={ring}"):
            docker("volume", "rm", "--force", ring)


def docker(*arguments: str) -> str:
    """Run the engine's client. Raises HeadraceError where there is none, or no engine answers."""
    try:
        done = subprocess.run(
            ["docker", *arguments],
            env=environment(),
            check=False,
            text=True,
            capture_output=True,
            errors="replace",
        )
    except OSError as error:
        raise _no_engine("There is no 'docker' command.") from error
    if done.returncode:
        if "docker daemon" in done.stderr:
            raise _no_engine("No Docker engine answers.")
        raise failure(arguments[0], done.stderr.strip().splitlines())
    return done.stdout


def last_log_line(container: dict[str, Any]) -> str:
    """The last line that a container wrote, on either stream."""
    command = ["docker", "logs", "--tail", "1", container["Id"]]
    done = subprocess.run(
        command,
        env=environment(),
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return done.stdout.decode(errors="replace").strip().removeprefix("headrace: error: ")


def require_engine() -> None:
    """Raises HeadraceError unless an engine and Compose v2 are there."""
    docker("version", "--format", "{{.Server.Version}}")
    try:
        docker("compose", "version")
    except HeadraceError as error:
        raise _no_engine("There is no 'docker compose'.") from error


def failure(action: str, lines: Iterator[str] | list[str] | deque[str]) -> HeadraceError:
    """The error in the last lines of a command that failed."""
    said = [line for line in lines if line] or ["it says nothing"]
    for sign, (code, hint) in SIGNS:
        for line in said:
            if sign in line:
                return HeadraceError(code, f"docker {action}: {line}", hint)
    return HeadraceError(UNEXPLAINED, f"docker {action}: {said[-1]}")


def _no_engine(message: str) -> HeadraceError:
    return HeadraceError("no_engine", message, "Start Docker, or leave --profile docker away.")
