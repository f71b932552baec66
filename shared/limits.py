"""Bounds that the command line names, too, and so without anything that is slow to import."""

MAX_CHUNK_ITEMS = 512
