"""What users would take instead, each a program that classifies one prefix of a bucket.

They run on an interpreter of their own (``requirements/peers.txt``) with the project's root on its
path, for the tables in which all share one decoder.
"""
