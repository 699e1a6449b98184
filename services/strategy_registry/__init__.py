"""Keeps what users want: strategies, from preview to closing."""
