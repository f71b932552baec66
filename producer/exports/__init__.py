"""A job's rows, read back and written in formats of others."""
