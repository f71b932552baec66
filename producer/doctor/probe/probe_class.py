"""The class that 'headrace doctor' runs over its one image."""


class Probe:
    """Says that an image has arrived."""

    def __call__(self, images):  # type: ignore[no-untyped-def]
        return [("arrived", 1.0) for _ in images]
