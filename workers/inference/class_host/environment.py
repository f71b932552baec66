"""The environment in which a user's class runs: no secret and no address of ours."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from pathlib import Path

from shared.environment import BASICS, user_variable
from workers.inference.errors import ClassUnusable

_PASSED = {*BASICS, "MALLOC_TOP_PAD_"}


def class_environment(names: Iterable[str], temporary: Path) -> dict[str, str]:
    """What a class may see, with the variables that its pipeline names.

    ``temporary`` is where it puts temporary files. Raises ClassUnusable for a name that is not set.
    """
    environment = {name: os.environ[name] for name in _PASSED if name in os.environ}
    environment |= {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TMPDIR": str(temporary)}
    for name in names:
        value = user_variable(name)
        if value is None:
            raise ClassUnusable(
                f"The pipeline asks for the variable {name}, which is not set where the worker on "
                f"{socket.gethostname()} was started.",
                "Export it where 'headrace up' or the worker is started, and start it again. For "
                "containers, write it with its value under 'environment:' of x-inference in "
                "docker-compose.yml.",
            )
        environment[name] = value
    return environment
