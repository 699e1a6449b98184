"""Reading the audit streams as somebody who may do nothing else: from anywhere, or on from a kept position.

The reads are direct gets, in batches: they make nothing on the server, so they need no right to make anything.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.core.errors import RetryLater
from shared.messaging.publishing import TEMPORARY

log = logging.getLogger(__name__)

BATCH = 256
ANSWER_WITHIN_S = 5.0
LOOK_S = 0.25
FETCH_WITHIN_S = 0.25
Connection: TypeAlias = Client
_V1_TOKENS = 9  # $JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<consumer sequence>.<time>.<pending>


@dataclass(frozen=True, slots=True)
class Audited:
    """One stored message: its place, what it was said on, when it was stored, its headers and its body.

    ``acknowledge``, on from a durable position: to be awaited once the message is dealt with, else it comes again.
    """

    stream: str
    sequence: int
    subject: str
    stored_at: datetime
    headers: Mapping[str, str]
    body: bytes
    acknowledge: Callable[[], Awaitable[None]] | None = None

    def cloud_event(self) -> dict[str, Any]:
        """The event in CloudEvents' JSON format, with its place as extensions. A body that is not JSON stays text."""
        attributes = {name[3:]: value for name, value in self.headers.items() if name.startswith("ce-")}
        try:
            data = json.loads(self.body)
        except ValueError:
            data = self.body.decode("utf-8", "replace")
        place = {"stream": self.stream, "sequence": self.sequence, "natssubject": self.subject}
        return {**attributes, **place, "storedat": self.stored_at.isoformat(), "data": data}


@dataclass(slots=True)
class Place:
    """Where to go on in a stream: after ``after``, or, before anything was read, from ``since``."""

    stream: str
    after: int = 0
    since: datetime | None = None
    waiting: list[Audited] = field(default_factory=list)
    at_end: bool = False


@asynccontextmanager
async def auditor_at(url: str, user: str, password: str) -> AsyncIterator[Connection]:
    """A connection for as long as the context lasts. Raises RetryLater when there is none, or when it is lost."""
    try:
        client = await nats.connect(
            url, user=user, password=password, connect_timeout=5, allow_reconnect=False, error_cb=_on_error
        )
    except (*TEMPORARY, nats.errors.Error) as error:
        raise RetryLater(f"NATS at {url} lets {user} not in: {error!r}") from error
    try:
        yield client
    except (*TEMPORARY, nats.errors.Error) as error:
        raise RetryLater(f"NATS does not answer any more: {error!r}") from error
    finally:
        await client.close()


async def _on_error(error: Exception) -> None:
    log.debug("NATS reports %r", error)


async def read_all(client: Connection, places: Sequence[Place]) -> AsyncGenerator[Audited, None]:
    """Everything stored, the streams merged by the time of storing; ends when each has been read to its end.

    Within a stream the order is the stream's own. Raises RetryLater when the server does not answer.
    """
    while True:
        for place in places:
            if not place.waiting and not place.at_end:
                await _fill(client, place)
        ready = [place for place in places if place.waiting]
        if not ready:
            return
        first = min(ready, key=lambda place: place.waiting[0].stored_at)
        yield first.waiting.pop(0)


async def follow_all(client: Connection, places: Sequence[Place]) -> AsyncGenerator[Audited, None]:
    """The same, and then everything new as it comes; never ends by itself."""
    while True:
        async for one in read_all(client, places):
            yield one
        await asyncio.sleep(LOOK_S)
        for place in places:
            place.at_end = False


async def follow_position(client: Connection, streams: Sequence[str], position: str) -> AsyncGenerator[Audited, None]:
    """On from where a durable position is in each stream, then everything new; never ends by itself.

    What was fetched and not acknowledged when it is closed comes again at once.
    """
    jetstream = client.jetstream()
    readers = {stream: await jetstream.pull_subscribe_bind(position, stream=stream) for stream in streams}
    while True:
        for stream, reader in readers.items():
            try:
                messages = await reader.fetch(BATCH, timeout=FETCH_WITHIN_S)
            except (nats.errors.TimeoutError, TimeoutError):
                continue
            try:
                for message in messages:
                    yield _delivered(stream, message)
            finally:
                await _give_back(client, [message for message in messages if not message._ackd])


async def _give_back(client: Connection, messages: Sequence[Msg]) -> None:
    """Have them delivered again, before any newer one: each is answered before anything else is asked for."""
    with suppress(*TEMPORARY, nats.errors.Error):
        for message in messages:
            await client.request(message.reply, Msg.Ack.Nak, timeout=ANSWER_WITHIN_S)


async def _fill(client: Connection, place: Place) -> None:
    """The next messages of a stream, at most ``BATCH``; ``at_end`` when there are no more for now."""
    # The reply has an inbox of its own: what comes late for a batch that was given up is nobody's.
    inbox = client.new_inbox()
    heard: asyncio.Queue[Msg] = asyncio.Queue()
    subscription = await client.subscribe(inbox, cb=heard.put)
    start: dict[str, Any] = {"seq": place.after + 1}
    if place.since is not None:
        start = {"start_time": place.since.astimezone(UTC).isoformat().replace("+00:00", "Z")}
    asked = json.dumps({**start, "batch": BATCH, "next_by_subj": ">"})
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            await client.publish(f"$JS.API.DIRECT.GET.{place.stream}", asked.encode(), reply=inbox)
            while _take(place, await heard.get()):
                pass
    except (*TEMPORARY, nats.errors.Error) as error:
        raise RetryLater(f"{place.stream} cannot be read: {error!r}") from error
    finally:
        with suppress(nats.errors.Error, OSError):
            await subscription.unsubscribe()


def _take(place: Place, message: Msg) -> bool:
    """Take one message of the answer; whether more of it follow."""
    headers = message.headers or {}
    status = headers.get("Status")
    if status == "503":
        raise RetryLater(f"the stream {place.stream} does not exist, or may not be read by this user")
    if status is not None:
        # 204: the end of the batch; 404: there is nothing after this place.
        place.at_end = status == "404" or headers.get("Nats-Num-Pending", "0") == "0"
        return False
    found = Audited(
        stream=place.stream,
        sequence=int(headers["Nats-Sequence"]),
        subject=headers["Nats-Subject"],
        stored_at=_stored_at(headers["Nats-Time-Stamp"]),
        headers={name: value for name, value in headers.items() if not name.startswith("Nats-")},
        body=message.data,
    )
    place.waiting.append(found)
    place.after, place.since = found.sequence, None
    return True


def _stored_at(text: str) -> datetime:
    """The server's time: nanoseconds, of which Python keeps the microseconds."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}+00:00")


def _delivered(stream: str, message: Msg) -> Audited:
    tokens = message.reply.split(".")
    shift = len(tokens) - _V1_TOKENS
    stored_at = datetime.fromtimestamp(int(tokens[7 + shift]) // 1000 / 1_000_000, UTC)
    headers = {name: value for name, value in (message.headers or {}).items() if not name.startswith("Nats-")}
    return Audited(
        stream, int(tokens[5 + shift]), message.subject, stored_at, headers, message.data, acknowledge=message.ack
    )
