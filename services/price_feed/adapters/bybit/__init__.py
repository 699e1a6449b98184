"""Bybit spot, public websocket v5."""
