"""Flower, for those who have its password only.

``python -m producer.stack.dashboard CONFIG OPTIONS`` runs it.
Flower itself gives its metrics to anybody, and orders to workers from anybody whom it lets in.
``CONFIG`` is Flower's own file, which says whom that is; the options are Flower's.
"""

from __future__ import annotations

import sys
from pathlib import Path

from shared.environment import settle

if __name__ == "__main__":
    settle()

from flower.views.monitor import Metrics
from tornado.web import authenticated

from shared.broker import celery_app
from shared.errors import HeadraceError, PermanentError


def main(arguments: list[str]) -> int:
    """Run until told to stop. Returns the exit code; one line says which secret is missing."""
    config, *options = arguments
    try:
        if not Path(config).is_file():
            raise PermanentError("no_password", f"There is no {config}.", "Mount the secret there.")
        app = celery_app.app
    except HeadraceError as error:
        sys.stderr.write(f"headrace: error: {error}\n")
        return 1
    Metrics.get = authenticated(Metrics.get)
    app.start(["flower", f"--conf={config}", "--read_only=True", *options])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
