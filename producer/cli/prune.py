"""``prune``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from producer.cli.output import AsJson, answer, answer_json, confirm, example, say, table

if TYPE_CHECKING:
    from producer.models import Unused

app = typer.Typer()


@app.command(epilog=example("prune --dry-run", "prune --older-than 30d --yes"))
def prune(
    older_than: Annotated[
        str,
        typer.Option(metavar="AGE", help="Unused for so long: 30m, 12h, 7d."),
    ] = "7d",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove model versions, and packed classes and their files, that nothing uses any more.

    Kept is what an open job needs, or one that ended less than --older-than ago; and of versions
    the current release of each model and those that config/models names; and all that is younger.
    A job that ended earlier keeps its rows, but cannot be retried without its version. A removal
    that was interrupted an hour ago or more is called off where nothing is missing yet.
    """
    from producer.connections import connect_stack
    from producer.models import Pruned, call_off_interrupted, parse_age, unused
    from producer.models import prune as remove

    age = parse_age(older_than)
    connections = connect_stack()
    found = unused(connections, age)
    for pin in () if dry_run else sorted(call_off_interrupted(connections, found)):
        say(f"Jobs may use {pin} again: its removal was interrupted.")
    if found and not dry_run:
        if not as_json:
            _show(found)
        confirm("Remove all of these from the models bucket?", yes)
        removed = remove(connections, found, age)
        if as_json:
            answer_json(Pruned(dry_run=False, removed=removed))
        else:
            answer(f"{len(removed)} removed, {_mebibytes(removed)} MiB.")
    elif as_json:
        answer_json(Pruned(dry_run=dry_run, removed=found))
    elif found:
        _show(found)
        say(f"{len(found)} would be removed, {_mebibytes(found)} MiB.")
    else:
        say("Nothing to remove.")


def _show(found: list[Unused]) -> None:
    rows = [(each.kind, each.name or "", each.sha256[:12], each.bytes) for each in found]
    table(("KIND", "MODEL", "SHA256", "BYTES"), rows)


def _mebibytes(found: list[Unused]) -> str:
    return f"{sum(each.bytes for each in found) / 2**20:,.1f}"
