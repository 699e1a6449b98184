"""Adapters: the venue and Postgres."""
