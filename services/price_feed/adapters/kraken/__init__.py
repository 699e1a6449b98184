"""Kraken spot, websocket API v2."""
