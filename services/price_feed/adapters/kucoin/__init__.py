"""KuCoin spot, public websocket with a token."""
