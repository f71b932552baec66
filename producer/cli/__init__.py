"""The command line: what ``headrace`` understands, and how it answers."""
