"""One websocket of a client, written to without copying: frames are made once and shared by all subscribers.

Text frames go straight to the transport (RFC 6455: server frames are unmasked, so one message has one byte form for
everybody); pings, pongs and closing are left to aiohttp, which writes whole frames too.
"""

import asyncio
import contextlib
import time

from aiohttp import WSMsgType, web

from services.simulated_exchange.faults.cutting import cut

PING_EVERY_S = 20.0
PONG_WITHIN_S = 60.0
MAX_BUFFERED = 32 * 1024 * 1024
"""Bytes a client may lag behind before it is cut off, as Binance does with slow readers."""
MAX_MESSAGE = 64 * 1024


def text_frame(payload: bytes) -> bytes:
    """An unfragmented, unmasked text frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


class Connection:
    """A client's socket. ``combined`` = stream messages are wrapped with their stream's name."""

    def __init__(self, transport: asyncio.WriteTransport, *, combined: bool) -> None:
        self.combined = combined
        self.streams: dict[str, None] = {}
        self._transport = transport
        self._pending: list[bytes] = []

    def queue(self, frame: bytes) -> None:
        """Add a frame to what the next flush writes."""
        self._pending.append(frame)

    def flush(self) -> None:
        """Write what was queued in one go. Cuts off a client that lags too far behind."""
        frames, self._pending = self._pending, []
        if not frames or self._transport.is_closing():
            return
        self._transport.write(b"".join(frames))
        if self._transport.get_write_buffer_size() > MAX_BUFFERED:
            self._transport.abort()

    def close(self) -> None:
        """End the connection without a word, after what was written."""
        self._transport.close()

    def cut(self, payload: bytes, share: float, at: int | None) -> None:
        """Write a message up to byte ``at`` of its frame (None: up to a share of it) and reset the connection."""
        frame = text_frame(payload)
        cut(self._transport, frame[: int(share * len(frame)) if at is None else at])

    def send(self, payload: bytes) -> None:
        """Write one message now, after whatever was queued."""
        self.queue(text_frame(payload))
        self.flush()


async def open_socket(
    request: web.Request, *, combined: bool, protocols: tuple[str, ...] = ()
) -> tuple[web.WebSocketResponse, Connection]:
    """Upgrade a request to a websocket."""
    # No compression: frames are shared between clients. Pings are answered by hand to see the client's pongs.
    socket = web.WebSocketResponse(protocols=protocols, autoping=False, compress=False, max_msg_size=MAX_MESSAGE)
    await socket.prepare(request)
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("client left during the upgrade")
    return socket, Connection(transport, combined=combined)


class KeepAlive:
    """Pings a client every 20 s and closes when no pong came for 60 s. Use as an async context manager."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket
        self._last_pong = time.monotonic()

    async def __aenter__(self) -> "KeepAlive":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await self._task

    async def control(self, kind: WSMsgType, data: bytes) -> None:
        """Take in a ping or pong of the client."""
        if kind is WSMsgType.PING:
            await self._socket.pong(data)
        elif kind is WSMsgType.PONG:
            self._last_pong = time.monotonic()

    async def _run(self) -> None:
        while not self._socket.closed:
            await self._socket.ping(str(time.time_ns() // 1_000_000).encode())
            await asyncio.sleep(PING_EVERY_S)
            if time.monotonic() - self._last_pong > PONG_WITHIN_S:
                await self._socket.close(code=1008, message=b"Pong timeout")
