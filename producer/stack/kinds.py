"""The two kinds of stack, and the one that a command is about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from producer import Echo
from producer.stack.process_state import ProcessState
from shared.environment import uses_docker
from shared.settings import Settings


class Stack(Protocol):
    """What a kind of stack can do with the one in ``home``. Each is a package of functions.

    All but ``processes`` raise HeadraceError; ``echo`` is told the progress.
    """

    def up(self, home: Path, workers: Mapping[str, int] | None, echo: Echo) -> Settings:
        """Start it, or bring it to these numbers of processes by role."""

    def down(self, home: Path, echo: Echo) -> None:
        """Stop it; its data stays."""

    def scale(self, home: Path, role: str, count: int, echo: Echo) -> None:
        """Run ``count`` processes of a role from now on."""

    def restart(self, home: Path, role: str, echo: Echo) -> None:
        """Stop the processes of a role, a service or one process, and start them again."""

    def logs(
        self, home: Path, role: str | None, follow: bool, tail: int | None, job: str | None
    ) -> Iterator[str]:
        """The last ``tail`` lines of each log, then what is added."""

    def processes(self, home: Path) -> list[ProcessState]:
        """Every process; none where it is not up."""


def current_stack() -> Stack:
    """The stack in containers where the profile says so, or else that of this machine."""
    from producer.stack import containers, local

    return containers if uses_docker() else local
