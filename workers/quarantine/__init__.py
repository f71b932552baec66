"""What malformed messages meet: they are moved to the dead letters, and kill nothing."""
