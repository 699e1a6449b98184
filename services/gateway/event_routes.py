"""/events: everything that happens, as server-sent events of CloudEvents."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from services.gateway.backing import Backing
from services.gateway.bodies import is_strategy_id
from services.gateway.event_feed import EventsWanted, event_feed, places_in, wanted_since, wanted_streams
from shared.core.errors import Refused

_DESCRIPTION = """Server-sent events; each `data:` is one CloudEvent in JSON format, each `id:` the place in every
stream: send the last one back as `Last-Event-ID` to go on without loss. Within a stream events come in order."""
_RESPONSES: dict[int | str, dict[str, object]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "The events, for ever."}
}


def event_routes(backing: Backing) -> APIRouter:
    """The route, reading from ``backing``."""
    router = APIRouter(prefix="/events", tags=["events"])

    @router.get("", summary="Follow the events", description=_DESCRIPTION, responses=_RESPONSES)
    async def events(
        stream: Annotated[list[str] | None, Query(description="Streams, as in ORDERS; all when not given.")] = None,
        type: Annotated[list[str] | None, Query(description="Types, as in trimtab.order.filled.")] = None,  # noqa: A002
        since: Annotated[str, Query(description="now, all, or an ISO 8601 time with zone.")] = "now",
        strategy_id: Annotated[str, Query(description="Only events of this strategy.")] = "",
        last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", max_length=1000)] = None,
    ) -> StreamingResponse:
        if strategy_id and not is_strategy_id(strategy_id):
            raise Refused.one("strategy_id", strategy_id, "the id of a strategy", "is not the id of a strategy")
        wanted = EventsWanted(
            streams=wanted_streams(stream or []),
            types=frozenset(type or ()),
            strategy_id=strategy_id,
            since=wanted_since(since),
            places=places_in(last_event_id),
        )
        feed = event_feed(backing.events, wanted)
        first = await anext(feed)  # What cannot be read at all is told with a status.
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return StreamingResponse(_from(first, feed), media_type="text/event-stream", headers=headers)

    return router


async def _from(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for text in rest:
        yield text
