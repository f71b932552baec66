"""What runs a stack: its roles and their rights, on this machine or in containers."""
