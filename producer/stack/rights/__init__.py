"""Who may do what: users and rights at the broker and at the store."""
