"""How progress is said: one line at a time, to whoever shows it."""

from __future__ import annotations

from collections.abc import Callable

Echo = Callable[[str], None]
