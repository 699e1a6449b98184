"""BigONE spot, websocket v2 in JSON."""
