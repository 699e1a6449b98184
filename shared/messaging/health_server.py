"""GET /healthz: 200 when all is well, 503 with the reasons when not. HTTP/1.1, one answer per connection."""

import asyncio
import contextlib
import json

from shared.messaging.health import Health

READ_TIMEOUT_S = 5.0
LONGEST_REQUEST_BYTES = 8192


class HealthServer:
    """Serves /healthz; unhealthy until ``started`` is set."""

    def __init__(self, health: Health) -> None:
        self.started = False
        self.port = 0
        self._health = health
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen; ``self.port`` is the port (of use when ``port`` is 0)."""
        self._server = await asyncio.start_server(self._answer, host, port, limit=LONGEST_REQUEST_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                status, body = await self._reply(head.split(b"\r\n", 1)[0].split(b" "))
                writer.write(_response(status, body))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _reply(self, line: list[bytes]) -> tuple[str, dict[str, object]]:
        if len(line) < 2 or line[0] != b"GET" or line[1].split(b"?")[0] != b"/healthz":
            return "404 Not Found", {"error": "only GET /healthz"}
        reasons = await self._health.reasons() if self.started else ["starting or stopping"]
        figures = self._health.figures()
        shown: dict[str, object] = {"figures": figures} if figures else {}
        if reasons:
            return "503 Service Unavailable", {"healthy": False, "reasons": reasons, **shown}
        return "200 OK", {"healthy": True, **shown}


def _response(status: str, body: dict[str, object]) -> bytes:
    data = json.dumps(body).encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + data
