"""The producer that leads: lists, feeds, and rescues what is lost."""
