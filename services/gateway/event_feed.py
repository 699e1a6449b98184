"""The event stream for outsiders: which events, from where, and as what text (server-sent events of CloudEvents)."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from services.gateway.adapters.event_streams import EventStreams, StreamEntry, StreamFilter
from shared.contracts import subjects
from shared.contracts.wire import CONTENT_TYPE, SPEC_VERSION
from shared.core.errors import Refused, RetryLater

_log = logging.getLogger(__name__)

ALIVE_INTERVAL_S = 10.0
_WAITING_EVENTS = 64
_PLACE = re.compile(r"([A-Z_]{1,32}):(\d{1,18})")

_SUBJECTS = {
    "STRATEGIES": subjects.STRATEGIES_ALL,
    "POSITIONS": subjects.POSITIONS_ALL,
    "WALLETS": subjects.WALLETS_ALL,
    "PLANS": subjects.PLANS_ALL,
    "PLAN_RESULTS": subjects.PLAN_RESULTS_ALL,
    "ORDERS": subjects.ORDERS_ALL,
    "DEPOSITS": subjects.DEPOSITS_ALL,
    "TRANSFERS": subjects.TRANSFERS_ALL,
    "LEDGER": subjects.LEDGER_ALL,
    "TREE_HEADS": subjects.TREE_HEADS,
    "EVALUATIONS": subjects.EVALUATIONS_ALL,
    "NOTIFICATIONS": subjects.NOTIFICATIONS_ALL,
    "HALTS": subjects.HALTS_ALL,
    "RECONCILIATION": subjects.RECONCILIATION_ALL,
}
_SUBJECTS_BY_STRATEGY = {
    "STRATEGIES": subjects.strategies,
    "POSITIONS": subjects.positions,
    "PLANS": subjects.plans,
    "PLAN_RESULTS": subjects.plan_results,
    "ORDERS": lambda strategy_id: f"orders.{strategy_id}.*",
    "TRANSFERS": subjects.transfers,
    "LEDGER": lambda _: subjects.LEDGER_ALL,
    "RECONCILIATION": lambda _: subjects.RECONCILIATION_ALL,
    "EVALUATIONS": subjects.evaluations,
    "NOTIFICATIONS": subjects.notifications,
}


class _Mark(Enum):
    """What a reader of a stream says beside events."""

    CAUGHT_UP = "caught up"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class EventsWanted:
    """What a reader asks for; empty ``streams`` or ``types`` = all. ``since``: "now", "all" or a moment.

    ``places``: the last sequence already seen by stream, from a Last-Event-ID; it goes before ``since``.
    """

    streams: tuple[str, ...]
    types: frozenset[str]
    strategy_id: str
    since: datetime | str
    places: Mapping[str, int]


def wanted_streams(names: Sequence[str]) -> tuple[str, ...]:
    """The streams asked for, all when none is named. Raises Refused for an unknown one."""
    for name in names:
        if name not in _SUBJECTS:
            raise Refused.one("stream", name, ", ".join(_SUBJECTS), "is not an event stream")
    return tuple(dict.fromkeys(names)) or tuple(_SUBJECTS)


def wanted_since(text: str) -> datetime | str:
    """ "now", "all" or an instant with time zone. Raises Refused."""
    if text in {"now", "all"}:
        return text
    allowed = "now, all, or an ISO 8601 time with zone as in 2026-01-31T12:00:00Z"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Refused.one("since", text, allowed, "is not a time") from None
    if moment.tzinfo is None:
        raise Refused.one("since", text, allowed, "has no time zone")
    return moment.astimezone(UTC)


def places_in(last_event_id: str | None) -> dict[str, int]:
    """Sequence by stream from a Last-Event-ID ("STRATEGIES:12,ORDERS:7"). Raises Refused when it is not one of ours."""
    places = {}
    for part in last_event_id.split(",") if last_event_id else []:
        match = _PLACE.fullmatch(part)
        if match is None or match[1] not in _SUBJECTS:
            allowed = "the id of an event of this feed"
            raise Refused.one("Last-Event-ID", last_event_id, allowed, "is not the id of an event")
        places[match[1]] = int(match[2])
    return places


async def event_feed(streams: EventStreams, wanted: EventsWanted) -> AsyncIterator[str]:
    """Server-sent events, one CloudEvent (JSON format) each, with a comment every 10 s so that silence is seen.

    Within a stream events come in order; what is already stored comes in order of storage across the streams. The id
    holds the place in every stream. Starts with a comment. Raises RetryLater only before that, when the streams cannot
    be read; later it just ends, and the reader comes back with its Last-Event-ID.
    """
    filters = _filters(wanted)
    places = {one.stream: await _first_place(streams, one.stream, wanted) for one in filters}
    yield ": connected\n\n"
    live: asyncio.Queue[StreamEntry | _Mark] = asyncio.Queue(_WAITING_EVENTS)
    stored: dict[str, asyncio.Queue[StreamEntry | _Mark]] = {
        one.stream: asyncio.Queue(_WAITING_EVENTS) for one in filters
    }
    readers = [
        asyncio.create_task(_read(streams, one, places[one.stream], stored[one.stream], live)) for one in filters
    ]
    try:
        async for event in _merged(stored, live):
            if event is None:
                yield ": alive\n\n"
                continue
            places[event.stream] = event.sequence
            if _is_wanted(event, wanted):
                place = ",".join(f"{stream}:{sequence}" for stream, sequence in places.items())
                yield f"id: {place}\nevent: {event.message.TYPE}\ndata: {json.dumps(cloud_event(event))}\n\n"
    finally:
        for reader in readers:
            reader.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*readers, return_exceptions=True)


async def _merged(
    stored: "Mapping[str, asyncio.Queue[StreamEntry | _Mark]]", live: "asyncio.Queue[StreamEntry | _Mark]"
) -> AsyncIterator[StreamEntry | None]:
    """What is stored, oldest first, then what is new as it comes; None after 10 s of silence. Ends with any reader."""
    waiting = dict(stored)
    heads: dict[str, StreamEntry] = {}
    while waiting:
        for stream in [one for one in waiting if one not in heads]:
            item = await waiting[stream].get()
            if item is _Mark.ENDED:
                return
            if isinstance(item, StreamEntry):
                heads[stream] = item
            else:
                del waiting[stream]
        if heads:
            oldest = min(heads, key=lambda stream: heads[stream].stored_at)
            yield heads.pop(oldest)
    while True:
        try:
            async with asyncio.timeout(ALIVE_INTERVAL_S):
                item = await live.get()
        except TimeoutError:
            yield None
            continue
        if not isinstance(item, StreamEntry):
            return
        yield item


def cloud_event(event: StreamEntry) -> dict[str, object]:
    """The event in CloudEvents 1.0 JSON format; ``stream`` and ``sequence`` are extensions telling where it is kept."""
    return {
        "specversion": SPEC_VERSION,
        "id": event.meta.message_id,
        "source": f"trimtab/{event.meta.source}",
        "type": event.message.TYPE,
        "time": event.meta.occurred_at.isoformat(),
        "subject": event.subject,
        "datacontenttype": CONTENT_TYPE,
        "schemaversion": str(event.message.SCHEMA_VERSION),
        "correlationid": event.meta.correlation_id,
        "causationid": event.meta.causation_id,
        "stream": event.stream,
        "sequence": str(event.sequence),
        "data": event.message.model_dump(mode="json"),
    }


def _filters(wanted: EventsWanted) -> list[StreamFilter]:
    if not wanted.strategy_id:
        return [StreamFilter(stream, _SUBJECTS[stream]) for stream in wanted.streams]
    return [
        StreamFilter(stream, _SUBJECTS_BY_STRATEGY[stream](wanted.strategy_id))
        for stream in wanted.streams
        if stream in _SUBJECTS_BY_STRATEGY
    ]


def _is_wanted(event: StreamEntry, wanted: EventsWanted) -> bool:
    if wanted.types and event.message.TYPE not in wanted.types:
        return False
    return not wanted.strategy_id or getattr(event.message, "strategy_id", "") == wanted.strategy_id


async def _first_place(streams: EventStreams, stream: str, wanted: EventsWanted) -> int:
    """The sequence after which to begin."""
    if stream in wanted.places:
        last = await streams.last_sequence(stream)
        # Beyond the end: the stream was rebuilt meanwhile; seeing events again is better than missing some.
        return wanted.places[stream] if wanted.places[stream] <= last else 0
    if wanted.since == "all":
        return 0
    if isinstance(wanted.since, datetime):
        return await streams.sequence_before(stream, wanted.since)
    return await streams.last_sequence(stream)


async def _read(
    streams: EventStreams,
    wanted: StreamFilter,
    place: int,
    stored: "asyncio.Queue[StreamEntry | _Mark]",
    live: "asyncio.Queue[StreamEntry | _Mark]",
) -> None:
    """Feed the queues (and wait while they are full): first what is stored, then what is new."""
    queue = stored
    try:
        async for event in streams.after(wanted, place):
            if event is None:
                await stored.put(_Mark.CAUGHT_UP)
                queue = live
            else:
                await queue.put(event)
    except RetryLater as later:
        _log.warning("an event feed ends: %s", later)
        await queue.put(_Mark.ENDED)
