"""What we note in a Parquet file's footer: fields of a model, each as JSON under its name."""

from __future__ import annotations

import json
from typing import Self

from shared.pipeline import Frozen


class Footer(Frozen):
    """Base of the two footers."""

    def metadata(self) -> dict[str, str]:
        """As ``shared.rows.to_parquet`` takes it."""
        return {name: json.dumps(value) for name, value in self.model_dump(mode="json").items()}

    @classmethod
    def of_metadata(cls, metadata: dict[str, str]) -> Self:
        """As ``shared.rows`` gives it. Raises ValueError where it is not ours."""
        return cls.model_validate({name: json.loads(value) for name, value in metadata.items()})
