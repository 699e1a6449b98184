"""Binance's spot dialect: REST, market streams, user data and the websocket API."""
