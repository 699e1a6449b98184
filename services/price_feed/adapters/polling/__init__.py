"""Prices by asking again and again, for venues without an adapter of their own."""
