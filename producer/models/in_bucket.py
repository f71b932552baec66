"""The models of a stack's bucket, for commands that may run without a stack."""

from __future__ import annotations

from pathlib import Path

from shared.catalog.published import PublishedModel
from shared.catalog.releases import BucketModels, Models


class StackModels(Models):
    """Connects when it is first asked. There are none where no stack is set up.

    Methods raise the store's errors.
    """

    def __init__(self, home: Path | None = None) -> None:
        self._home = home

    def find(self, name: str, sha256: str | None) -> PublishedModel | None:
        """See ``Models``."""
        there = self._there()
        return None if there is None else there.find(name, sha256)

    def names(self) -> list[str] | None:
        """See ``Models``."""
        there = self._there()
        return None if there is None else there.names()

    def _there(self) -> BucketModels | None:
        from producer.connections import connect_stack_if_set_up

        connections = connect_stack_if_set_up(self._home)
        if connections is None:
            return None
        bucket = connections.settings.models_bucket
        return BucketModels(connections.store_of(bucket), bucket)
