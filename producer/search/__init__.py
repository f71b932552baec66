"""Searching and grouping a job's images by what its rows say of them."""
