"""BigONE's spot dialect over the venue: REST version 3 and websocket version 2 in JSON."""
