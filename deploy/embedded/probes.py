"""Is it ready? One short question per kind of server; every failure is an answer, never an exception."""

import asyncio
import json
import struct
from dataclasses import dataclass
from urllib.parse import urlsplit

_HTTP_OK = 200
_MAX_BODY_BYTES = 64 * 1024
_POSTGRES_PROTOCOL_3 = 196608


@dataclass(frozen=True, slots=True)
class Answer:
    """``ready``, and when it is not, why (one line)."""

    ready: bool
    reason: str = ""


async def ask_http(url: str, *, timeout_s: float = 2.0) -> Answer:
    """GET a health page: 200 is ready; anything else is not, with the page's own reasons where it gives them."""
    try:
        async with asyncio.timeout(timeout_s):
            return await _get(url)
    except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
        return Answer(False, f"{url}: {error or type(error).__name__}")


async def ask_postgres(port: int, *, user: str = "trimtab", timeout_s: float = 2.0) -> Answer:
    """Knock at PostgreSQL on loopback: being asked for a password is ready; `starting up` is not."""
    try:
        async with asyncio.timeout(timeout_s):
            return await _knock(port, user)
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        return Answer(False, f"postgres on port {port}: {error or type(error).__name__}")


async def _get(url: str) -> Answer:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        target = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        writer.write(f"GET {target} HTTP/1.0\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        head, _, body = (await reader.read(_MAX_BODY_BYTES)).partition(b"\r\n\r\n")
        while not body and (more := await reader.read(_MAX_BODY_BYTES)):
            body += more
        status = int(head.split(b" ", 2)[1]) if head.startswith(b"HTTP/") else 0
        return Answer(True) if status == _HTTP_OK else Answer(False, f"status {status}: {_reasons(body)}")
    except IndexError:
        return Answer(False, "not an HTTP answer")
    finally:
        writer.close()


def _reasons(body: bytes) -> str:
    try:
        page = json.loads(body)
    except ValueError:
        return body[:200].decode(errors="replace")
    return json.dumps(page.get("reasons", page) if isinstance(page, dict) else page)[:400]


async def _knock(port: int, user: str) -> Answer:
    """A start-up packet, and the first byte of the answer (PostgreSQL frontend/backend protocol 3.0)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        fields = b"".join(part.encode() + b"\0" for part in ("user", user, "database", "postgres")) + b"\0"
        writer.write(struct.pack("!ii", 8 + len(fields), _POSTGRES_PROTOCOL_3) + fields)
        await writer.drain()
        kind = await reader.readexactly(1)
        if kind == b"R":
            return Answer(True)
        text = (await reader.read(1024)).replace(b"\0", b" ").decode(errors="replace")
        return Answer(False, f"postgres on port {port}: {text.strip()}")
    finally:
        writer.close()
