"""Connections that end in the middle of a word."""

import asyncio
import socket
import struct

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def cut(transport: asyncio.WriteTransport, said: bytes) -> None:
    """Write ``said`` and reset the connection."""
    transport.write(said)
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None:
        # Lingering for no time makes closing a reset.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
