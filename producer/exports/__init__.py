"""A job's rows in the formats of others, and its errors by code."""
