"""What the producer and the workers agree on: messages, settings, ledger, staging, storage."""
