"""/halt, /resume and /halts: the kill switch, per venue or for all."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter

from services.gateway.backing import Backing
from services.gateway.bodies import Key, OptionalBody, refuse_unknown_fields
from services.gateway.replies import HaltReply, HaltsReply
from services.gateway.request_schemas import HALT, RESUME
from shared.contracts.halts import HaltChanged
from shared.core.errors import Refused, RetryLater

_HALT = """From the answer on no order is sent at the venue (all known venues without one), whatever restarts, until
it is resumed. Orders already at the venue are settled and booked. Halting what is halted changes nothing."""
_VENUE = re.compile(r"[A-Za-z0-9_-]{1,64}")
LONGEST_REASON = 200


def halt_routes(backing: Backing) -> APIRouter:
    """The routes of the kill switch, answering from ``backing``."""
    router = APIRouter(tags=["kill switch"])

    @router.post("/halt", summary="Send no more orders", description=_HALT, openapi_extra=HALT)
    async def halt(body: OptionalBody, key: Key) -> HaltsReply:
        refuse_unknown_fields(body, ["venue", "reason"])
        venues = _venues(backing, body)
        return _reply(backing, await backing.switches.halt(venues, _reason(body), key))

    @router.post("/resume", summary="Send orders again", openapi_extra=RESUME)
    async def resume(body: OptionalBody, key: Key) -> HaltsReply:
        refuse_unknown_fields(body, ["venue"])
        return _reply(backing, await backing.switches.resume(_venues(backing, body), key))

    @router.get("/halts", summary="Where orders are sent, and where not")
    async def halts() -> HaltsReply:
        backing.refuse_until_caught_up()
        views = backing.views
        return HaltsReply(halts=[_halt(venue, views.halts.get(venue)) for venue in views.venues()])

    return router


def _venues(backing: Backing, body: Mapping[str, Any]) -> Sequence[str]:
    """The venue named (known here or not: a halt must not wait for that), else all. Raises Refused, RetryLater."""
    venue = body.get("venue")
    if venue is not None:
        if not isinstance(venue, str) or not _VENUE.fullmatch(venue):
            raise Refused.one("venue", venue, "the name of a venue", "is not one")
        return [venue]
    backing.refuse_until_caught_up()
    if not backing.views.venues():
        raise RetryLater("no venue is known yet")
    return backing.views.venues()


def _reason(body: Mapping[str, Any]) -> str:
    reason = body.get("reason", "")
    if not isinstance(reason, str) or len(reason) > LONGEST_REASON or not (reason.isprintable() or not reason):
        raise Refused.one("reason", reason, f"at most {LONGEST_REASON} printable characters", "is not a reason")
    return reason


def _reply(backing: Backing, changes: Sequence[HaltChanged]) -> HaltsReply:
    for changed in changes:
        backing.views.take_halt(changed)
    return HaltsReply(halts=[_halt(changed.venue, changed) for changed in changes])


def _halt(venue: str, changed: HaltChanged | None) -> HaltReply:
    if changed is None or not changed.sequence:
        return HaltReply(venue=venue, halted=False)
    return HaltReply(
        venue=venue,
        halted=changed.halted,
        cause=changed.cause.value,
        reason=changed.reason,
        changed_at=changed.changed_at,
    )
