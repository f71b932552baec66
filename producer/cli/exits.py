"""How every command ends: 0, 1 for a failure, 2 for wrong usage, 130 for Ctrl-C.

An error is one line that says what is wrong and what to do, on stderr.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from typer.exceptions import Abort, TyperException

from producer.cli.output import INTERRUPTED, print_error, say
from producer.cli.streams import not_written, prepare, writing_answer
from shared.errors import HeadraceError


def run(arguments: Sequence[str], encoding: str | None = None) -> int:
    """Run one command. Never raises; returns the exit code.

    ``encoding``: what stdout and stderr show, where it is not what Python takes it for.
    """
    as_json = "--json" in arguments
    prepare(encoding)
    try:
        from producer.cli.app import app

        code = app(args=list(arguments) or ["--help"], prog_name="headrace", standalone_mode=False)
        with writing_answer():
            sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (BrokenPipeError, SystemExit):  # typer exits where whoever read us has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (KeyboardInterrupt, Abort):
        print_error(HeadraceError("interrupted", "Interrupted."), as_json)
        return INTERRUPTED
    except HeadraceError as error:
        print_error(error, as_json)
        return error.exit_code
    except TyperException as error:
        print_error(_usage_error(error), as_json)
        return error.exit_code
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        print_error(not_written(error) if is_full else _unexpected(error), as_json)
        return 1
    except Exception as error:  # noqa: BLE001  the last resort of the whole program
        print_error(_unexpected(error), as_json)
        return 1


def _usage_error(error: TyperException) -> HeadraceError:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "headrace"
    message = " ".join(error.format_message().split())
    message = message if message.endswith((".", "?")) else f"{message}."
    return HeadraceError("usage", message, f"See '{command} --help'.")


def _unexpected(error: Exception) -> HeadraceError:
    """One line instead of a traceback, which goes to a file, or to stderr with HEADRACE_DEBUG=1."""
    text = "".join(traceback.format_exception(error))
    if os.environ.get("HEADRACE_DEBUG") == "1":
        say(text)
    where = _keep(text)
    reason = " ".join(str(error).split())[:300]
    return HeadraceError(
        "unexpected",
        f"This should not have happened: {type(error).__name__}: {reason}",
        f"The traceback is in {where}." if where else "Set HEADRACE_DEBUG=1 for the traceback.",
    )


def _keep(text: str) -> Path | None:
    from shared.settings import default_home

    for folder in (default_home(), Path(tempfile.gettempdir())):
        path = folder / f"headrace-error-{os.getuid()}.log"
        try:
            descriptor = os.open(
                path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600
            )
            with os.fdopen(descriptor, "a") as file:
                file.write(text + "\n")
        except OSError:
            continue
        return path
    return None
