"""``doctor``: what is well, and how to fix what is not."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from producer.cli.output import AsJson, answer, answer_json, example, printable, warn
from shared.errors import sentences

app = typer.Typer()

MARKS = {"ok": "ok", "warning": "--", "failed": "FAILED"}


@app.command(epilog=example("doctor", "doctor --json"))
def doctor(
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="S", help="How long a stage may take over the image.")
    ] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Check this machine and the stack, and say how to fix what is wrong; then exit 1.

    One small image goes through every stage, as a job that is removed again.
    """
    from producer.doctor.checks import Check, Checks, examine

    checks: list[Check] = []
    with closing(examine(warn, timeout)) as found:  # interrupted, it removes its probe
        for check in found:
            checks.append(check)
            if not as_json:
                said = sentences(check.detail, check.hint)
                line = f"{MARKS[check.state]:<7} {check.name:<16} {said}"
                answer(printable(line).rstrip())
    if as_json:
        answer_json(Checks(checks=checks))
    if any(check.state == "failed" for check in checks):
        raise typer.Exit(1)
