"""Binance spot, and every venue that speaks its dialect."""
