"""Faults between the venue and its clients, injected on request."""
