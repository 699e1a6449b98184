"""A paper venue that speaks Binance's spot dialect over HTTP and websocket."""
