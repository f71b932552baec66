"""Measurements; each writes its figures with the machine and the commit beside them."""
