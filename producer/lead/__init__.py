"""The leading producer: it lists buckets, feeds the first queue and sends lost chunks again."""
