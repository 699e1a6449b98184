"""Coinbase Advanced Trade, market data websocket."""
