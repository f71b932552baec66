"""Bounds that several documents share, apart from anything that is slow to import."""

MAX_CHUNK_ITEMS = 512
# A caption is a label, too.
MAX_LABEL_CHARACTERS = 10_000
MAX_IMAGE_SIDE_PIXELS = 10**6
MAX_ERROR_MESSAGE_CHARACTERS = 500
