"""Chaos: several jobs on a real stack under faults drawn from a seed, judged by the accounting."""
