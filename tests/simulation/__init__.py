"""The real product on a simulated clock, ledger server, broker and store, in one process.

Every simulated process is a handful of greenlets; one runs at a time, and gives way at every call
that leaves its process, at every touch of a staging slot, and wherever the product waits. Which
one goes on, what fails and who dies is drawn from a seed, so that a seed tells a whole story, and
tells it again: ``python -m tests.simulation --seed 17``.
"""
