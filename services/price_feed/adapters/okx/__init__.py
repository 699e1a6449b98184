"""OKX spot, public websocket v5."""
