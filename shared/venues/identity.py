"""The name an order has at a venue. Pure."""

import hashlib
import uuid

from shared.venues.capabilities import ClientIds


def id_at_venue(rules: ClientIds, client_order_id: str) -> str:
    """The id that goes out for an intent: the same for the same intent, always.

    Where an id as long as ours must be a UUID (Kraken), the first 128 bits of its SHA-256, marked as version 4.
    """
    if not rules.as_uuid:
        return client_order_id
    return str(uuid.UUID(bytes=hashlib.sha256(client_order_id.encode()).digest()[:16], version=4))
