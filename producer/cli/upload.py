"""``upload``: a folder into a bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from producer.cli.output import JSON_HELP, answer, answer_json, example, warn
from producer.cli.progress import Counter

app = typer.Typer()


@app.command(epilog=example("upload ./photos s3://photos/2026"))
def upload(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder with the files.")],
    url: Annotated[str, typer.Argument(metavar="s3://BUCKET/PREFIX")],
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Upload a folder, subfolders included; the bucket is made if it is missing.

    What is there with the same size and hash is skipped, so that the same command goes on after
    an interruption. Links are followed.
    """
    from producer.connections import connect
    from producer.upload import upload as upload_files

    with Counter("uploading", "files") as counter:
        report = upload_files(
            directory, url, connect().store_of, warn=warn, progress=counter.update
        )
    if as_json:
        answer_json(report)
    else:
        answer(
            f"{report.uploaded} files uploaded ({report.bytes / 1e6:.1f} MB), "
            f"{report.skipped} were there already."
        )
