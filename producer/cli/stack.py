"""``up``, ``down``, ``ps``, ``logs``, ``scale``, ``restart``, ``info``: the stack itself."""

from __future__ import annotations

from typing import Annotated

import typer

from producer.cli.output import AsJson, answer, answer_json, example, printable, say, table, warn
from shared.errors import UsageError

app = typer.Typer()


@app.command(epilog=example("up", "up --workers preprocess=4,inference=1"))
def up(
    workers: Annotated[
        str,
        typer.Option(
            metavar="ROLE=N,...", help="How many processes of a role, kept until changed."
        ),
    ] = "",
) -> None:
    """Start the whole system on this machine, or bring a running one to the given numbers.

    Returns when every role answers.
    """
    from producer.stack.info import masked_url
    from producer.stack.kinds import current_stack
    from shared.settings import default_home

    settings = current_stack().up(default_home(), _counts(workers), say)
    answer(f"Headrace is up in {settings.home}.")
    answer(f"Flower: {masked_url(settings.flower_url)}")
    if settings.mode == "docker":
        answer("Commands reach it with HEADRACE_PROFILE=docker in the environment.")


@app.command(epilog=example("down"))
def down() -> None:
    """Stop the stack; what is in flight is finished, and jobs go on at the next 'up'."""
    from producer.stack.kinds import current_stack
    from shared.settings import default_home

    home = default_home()
    current_stack().down(home, say)
    data = f"Its data stays in {home}." if home.is_dir() else "It was never up."
    answer(f"Headrace is down. {data}")


@app.command(epilog=example("ps", "ps --json"))
def ps(as_json: AsJson = False) -> None:
    """Show the processes of the stack, and how many chunks each has in hand."""
    from producer.doctor.process_rows import process_rows
    from shared.settings import default_home

    rows = process_rows(warn)
    if as_json:
        answer_json(rows)
    elif rows:
        table(
            ("ROLE", "NAME", "PID", "STATE", "UPTIME", "CHUNKS"),
            [
                (
                    row.role,
                    row.name,
                    row.pid or None,
                    row.state,
                    _uptime(row.uptime_seconds) if row.uptime_seconds else None,
                    row.held,
                )
                for row in rows
            ],
        )
        for warning in dict.fromkeys(warning for row in rows for warning in row.warnings):
            warn(printable(warning))
    else:
        say(f"No stack is up in {default_home()}. Run 'headrace up'.")


@app.command(epilog=example("logs inference -f", "logs --job classify-20261121-101502-3f9a"))
def logs(
    role: Annotated[
        str | None, typer.Argument(help="A role or one process; all if left out.")
    ] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Show what is added.")] = False,
    tail: Annotated[
        int | None, typer.Option(min=0, help="How many lines of each log; 20, or all of a job.")
    ] = None,
    job: Annotated[
        str | None,
        typer.Option(metavar="JOB", help="Only lines that name it: what its class prints, too."),
    ] = None,
) -> None:
    """Show the end of the logs."""
    from producer.stack.kinds import current_stack
    from shared.settings import default_home

    for line in current_stack().logs(default_home(), role, follow, tail, job):
        answer(line)


@app.command(epilog=example("scale preprocess=4"))
def scale(
    wanted: Annotated[str, typer.Argument(metavar="ROLE=N", help="A role and its processes.")],
) -> None:
    """Run N processes of a role from now on."""
    from producer.stack.kinds import current_stack
    from shared.settings import default_home

    for role, count in _counts(wanted).items():
        current_stack().scale(default_home(), role, count, say)
        answer(f"{role}: {count}")


@app.command(epilog=example("restart inference"))
def restart(
    role: Annotated[str, typer.Argument(help="A role, a service or one process.")],
) -> None:
    """Stop the processes of a role in good order, and start them again."""
    from producer.stack.kinds import current_stack
    from shared.settings import default_home

    current_stack().restart(default_home(), role, say)
    answer(f"{role} was restarted.")


@app.command(epilog=example("info", "info --json"))
def info(as_json: AsJson = False) -> None:
    """Show where everything is. With --json the credentials are shown, else masked."""
    from producer.stack.info import stack_info

    found = stack_info()
    if as_json:
        answer_json(found)
        return
    shown = found.masked()
    for name in ("home", "mode", "broker_url", "ledger_url", "staging_url", "flower_url"):
        answer(f"{name:<12} {getattr(shown, name)}")
    answer(f"{'s3':<12} {shown.s3.endpoint}, access key {shown.s3.access_key}")
    table(("QUEUE", "ROLE", "TASK"), [(q.name, q.role, q.task) for q in shown.queues])
    table(("PROCESS", "ROLE", "PID"), [(p.name, p.role, p.pid) for p in shown.processes])


def _counts(text: str) -> dict[str, int]:
    """``preprocess=2,inference=1`` as numbers by role."""
    counts = {}
    for part in filter(None, text.split(",")):
        role, equals, number = part.partition("=")
        if not (equals and number.strip().isdecimal()):
            raise UsageError("bad_scale", f"'{part}' is not ROLE=N.", "Write it as preprocess=2.")
        counts[role.strip()] = int(number)
    return counts


def _uptime(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
