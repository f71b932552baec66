"""``doctor``: what is well, and how to mend what is not."""

from __future__ import annotations

from typing import Annotated

import typer

from producer.cli.output import JSON_HELP, answer, answer_json, example, printable

app = typer.Typer()

MARKS = {"ok": "ok", "warning": "--", "failed": "FAILED"}


@app.command(epilog=example("doctor", "doctor --json"))
def doctor(as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False) -> None:
    """Check this machine and the stack, and say how to mend what is wrong; then exit 1."""
    from producer.doctor import Check, examine

    checks: list[Check] = []
    for check in examine():
        checks.append(check)
        if not as_json:
            line = f"{MARKS[check.state]:<7} {check.name:<12} {check.detail} {check.fix}"
            answer(printable(line).rstrip())
    if as_json:
        answer_json(checks)
    if any(check.state == "failed" for check in checks):
        raise typer.Exit(1)
