"""Venues: one folder each, one row each in ``table.py``."""
