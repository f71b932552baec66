"""``upload``: a folder into a bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from producer.cli.output import AsJson, answer, answer_json, example, warn
from producer.cli.progress import Counter

app = typer.Typer()


@app.command(epilog=example("upload ./photos s3://photos/2026"))
def upload(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder with the files.")],
    url: Annotated[str, typer.Argument(metavar="s3://BUCKET/PREFIX")],
    everything: Annotated[
        bool, typer.Option("--all", help="Hidden and system files, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Upload a folder, subfolders included; the bucket is made if it is missing.

    What is there with the same size and hash is skipped, so that the same command goes on after
    an interruption. Links are followed. Files and folders whose names begin with a dot are left
    out, as are those that systems make for themselves, such as Thumbs.db; --all uploads them too.
    """
    from producer.connections import connect_stack
    from producer.upload.transfer import upload as upload_files

    with Counter("uploading", "files") as counter:
        report = upload_files(
            directory,
            url,
            connect_stack().store_of,
            warn=warn,
            progress=counter.update,
            everything=everything,
        )
    if as_json:
        answer_json(report)
    else:
        answer(
            f"{report.uploaded} files uploaded ({report.bytes / 1e6:.1f} MB), "
            f"{report.skipped} were there already."
        )
        if report.hidden:
            files = "file was" if report.hidden == 1 else "files were"
            them = "it" if report.hidden == 1 else "them"
            answer(f"{report.hidden} hidden or system {files} left out; --all uploads {them} too.")
