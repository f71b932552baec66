"""``dead-letters``: what could never have been a message of ours."""

from __future__ import annotations

from typing import Annotated

import typer

from producer.cli.output import (
    AsJson,
    answer,
    answer_json,
    confirm,
    example,
    printable,
    say,
    table,
)
from shared.errors import UsageError

app = typer.Typer(help="Messages that could never have been valid, and why.")


@app.command("list", epilog=example("dead-letters list --json"))
def list_letters(as_json: AsJson = False) -> None:
    """List them all, newest first; of a flood, what is still in the broker."""
    from producer.dead_letters import QUARANTINE, row, stack_dead_letters

    letters = stack_dead_letters()
    rows = [row(letter) for letter in letters.list()]
    if moved := letters.moved():
        say(f"{moved} older ones lie in the state bucket, under {QUARANTINE}.")
    if as_json:
        answer_json(rows)
    elif rows:
        table(
            ("ID", "QUEUE", "LAYER", "SIZE", "REPLAYS", "REASON"),
            [(r.id, r.queue, r.layer, r.size, r.replays, r.reason) for r in rows],
        )
    else:
        say("There are no dead letters.")


@app.command(epilog=example("dead-letters show 1795248000000-0123456789ab"))
def show(letter_id: Annotated[str, typer.Argument(metavar="ID")], as_json: AsJson = False) -> None:
    """Show one, with the bytes as they lay in the queue."""
    from producer.dead_letters import detail, row, stack_dead_letters

    letter = stack_dead_letters().show(letter_id)
    if as_json:
        answer_json(detail(letter))
        return
    for name, value in row(letter).model_dump().items():
        answer(f"{name:<12} {printable(value)}")
    answer(printable(letter.raw.decode(errors="backslashreplace")))


@app.command(
    epilog=example("dead-letters replay 1795248000000-0123456789ab", "dead-letters replay --all")
)
def replay(
    letter_ids: Annotated[list[str] | None, typer.Argument(metavar="ID...")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every one of them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put them back into their queues as they were; what is still bad comes back."""
    from producer.dead_letters import DeadLetterCount, stack_dead_letters

    if bool(letter_ids) == everything:
        raise UsageError("no_ids", "Name some IDs, or pass --all.", "See dead-letters list.")
    letters = stack_dead_letters()
    chosen = letter_ids or [letter.id for letter in reversed(letters.list())]
    count = len(letters.replay(chosen))
    answer_json(DeadLetterCount(count=count)) if as_json else answer(f"{count} replayed.")


@app.command(epilog=example("dead-letters purge --yes"))
def purge(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Throw them all away."""
    from producer.dead_letters import DeadLetterCount, stack_dead_letters
    from producer.dead_letters import purge as purge_all

    stack_dead_letters()
    confirm("Throw away all dead letters?", yes)
    count = purge_all()
    answer_json(DeadLetterCount(count=count)) if as_json else answer(f"{count} thrown away.")
