"""Bybit spot, unified account."""
