"""/reconciliation: where books and venues differ, and its acceptance."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from services.gateway.backing import Backing
from services.gateway.bodies import Body, Key, refuse_unknown_fields
from services.gateway.http_errors import NotFoundError
from services.gateway.replies import Reply
from services.gateway.request_schemas import ACCEPTANCE
from shared.contracts.reconciliation import BalanceDiffered, ForeignOrderFound, SuspenseChanged
from shared.contracts.wire import Amount, Message, Meta, Timestamp
from shared.core.errors import Problem, Refused
from shared.core.money import ZERO, parse_asset, parse_decimal, plain

_EVENTS = 50


class SuspenseReply(Reply):
    """An asset in suspense: above zero unclaimed at the venue, below zero missing there. It is not traded meanwhile."""

    asset: str
    amount: Amount
    at_venue: Amount
    wallet: Amount


class ReconciliationEventReply(Reply):
    """Something that was seen or done about differences, in words."""

    id: str
    occurred_at: Timestamp
    type: str
    text: str
    asset: str = ""
    amount: Amount | None = None
    balance: Amount | None = None


class ReconciliationReply(Reply):
    """A venue. ``reconciled``: nothing is in suspense. ``events``: the newest, newest first."""

    venue: str
    reconciled: bool
    suspense: list[SuspenseReply]
    events: list[ReconciliationEventReply] = Field(default=[])


class ReconciliationsReply(Reply):
    """Every venue, without events."""

    venues: list[ReconciliationReply]


class AcceptedReply(Reply):
    """What went from suspense to the wallet (below zero: what the wallet has borne)."""

    venue: str
    asset: str
    amount: Amount
    transaction_id: str


def reconciliation_routes(backing: Backing) -> APIRouter:
    """The routes, answering from ``backing``."""
    router = APIRouter(prefix="/reconciliation", tags=["reconciliation"])

    @router.get("", summary="Where books and venues differ")
    async def reconciliations() -> ReconciliationsReply:
        backing.refuse_until_caught_up()
        return ReconciliationsReply(venues=[_of(venue, backing, []) for venue in backing.views.venues()])

    @router.get("/{venue}", summary="Where the books and one venue differ, and why")
    async def reconciliation(
        venue: str, limit: Annotated[int, Query(ge=0, le=500, description="How many events.")] = _EVENTS
    ) -> ReconciliationReply:
        _require(venue, backing)
        return _of(venue, backing, await backing.ledger.newest(venue, limit))

    @router.post("/{venue}/accept", summary="Give what is in suspense to the wallet", openapi_extra=ACCEPTANCE)
    async def accept(venue: str, body: Body, key: Key) -> AcceptedReply:
        _require(venue, backing)
        asset, amount = movement_in(body, "exactly what is in suspense")
        done = await backing.ledger.accept(venue, asset, amount, key)
        return AcceptedReply(**done.model_dump())

    return router


def _require(venue: str, backing: Backing) -> None:
    backing.refuse_until_caught_up()
    if venue not in backing.views.venues():
        raise NotFoundError(f"nothing is known of a venue {venue[:80]}")


def movement_in(body: Mapping[str, Any], amount_allowed: str) -> tuple[str, Decimal]:
    """The asset and the amount in a body. Raises Refused with everything that is wrong with it."""
    refuse_unknown_fields(body, ["asset", "amount"])
    problems: list[Problem] = []
    asset, amount = "", ZERO
    try:
        asset = parse_asset(body.get("asset"), "asset")
    except Refused as refused:
        problems += refused.problems
    try:
        amount = parse_decimal(body.get("amount"), "amount", amount_allowed)
    except Refused as refused:
        problems += refused.problems
    if problems:
        raise Refused(problems)
    return asset, amount


def _of(venue: str, backing: Backing, events: list[tuple[Message, Meta]]) -> ReconciliationReply:
    books, wallet = backing.views.books.get(venue), backing.views.wallets.get(venue)
    held = {} if books is None else books.held
    free = {} if wallet is None else wallet.balances
    suspense = {} if books is None else books.suspense
    rows = [
        SuspenseReply(asset=asset, amount=amount, at_venue=held.get(asset, ZERO), wallet=free.get(asset, ZERO))
        for asset, amount in sorted(suspense.items())
    ]
    told = [_event(message, meta) for message, meta in events]
    return ReconciliationReply(venue=venue, reconciled=not rows, suspense=rows, events=told)


def _event(message: Message, meta: Meta) -> ReconciliationEventReply:
    reply = ReconciliationEventReply(id=meta.message_id, occurred_at=meta.occurred_at, type=message.TYPE, text="")
    match message:
        case SuspenseChanged():
            figures = {"asset": message.asset, "amount": message.amount, "balance": message.balance}
            return reply.model_copy(update={"text": message.text, **figures})
        case BalanceDiffered():
            text = f"{plain(message.at_venue)} {message.asset} at the venue, {plain(message.in_books)} in the books"
            return reply.model_copy(update={"text": text, "asset": message.asset, "amount": message.amount})
        case ForeignOrderFound():
            text = f"order {message.venue_order_id} in {message.symbol} is open and is not Trimtab's"
            return reply.model_copy(update={"text": text})
        case _:
            return reply
