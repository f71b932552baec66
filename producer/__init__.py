"""The side that decides what work exists: command line, listing, manifest, feeding, rescue."""

from collections.abc import Callable

# How progress and warnings are said: one line at a time, to whatever shows them.
Echo = Callable[[str], None]
Warn = Callable[[str], None]
