"""Writes results back: chunk files, parts, and the end of a job."""
